"""A chat turn: open (may refuse), call (holds no connection), close (message, money and attempts in one commit)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import AppError, Conflict, InvalidField, NotFound
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import IdempotencyKey, ModelPreset
from app.domain.plans import PlanLimits
from app.domain.quotas import TurnAsk
from app.openrouter.attempts import Attempt
from app.openrouter.tokens import estimate_prompt_tokens
from app.openrouter.types import ContentDelta, GenerationStarted, RefusalDelta
from app.services.chat_events import (
    ChatEvent,
    ChatReply,
    ContextTrimmed,
    MessageInterrupted,
    decode_reply,
    encode,
    failed,
    reply,
    retold,
    started,
    told,
)
from app.services.chat_turn import (
    MessageIds,
    Question,
    RequestKey,
    Turn,
    answered_call,
    attempt_rows,
    completed_values,
    ending_values,
    lost_calls,
    opening_rows,
)
from app.services.generation_hub import AnswerLog, GenerationHub, generation_hub, uninterrupted
from app.services.lease_keeper import LeaseKeeper, lease_keeper
from app.services.model_call import ChatResult, ModelCall, ModelCallFailed, PlannedCompletion
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.plan_gates import PlanGates, plan_gates
from app.services.prompt_window import Prompt, assemble_prompt
from app.services.quota_service import QuotaService, quota_service

log = structlog.get_logger(__name__)

REPEAT_POLL_SECONDS = 0.2


class IdempotencyKeyReused(Conflict):
    """The same key with a different body."""

    code = "idempotency_key_reused"


class RepeatedRequestFailed(AppError):
    """The request that was joined failed; its key is free again."""

    status_code = 502
    code = "repeated_request_failed"


class EnhancedChatService:
    """The use case behind ``POST /chat``."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        gates: PlanGates,
        leases: LeaseKeeper,
        hub: GenerationHub,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._gates = gates
        self._leases = leases
        self._hub = hub
        self._clock = clock

    async def chat(
        self,
        *,
        user_id: UUID,
        conversation_id: UUID,
        message_content: str,
        enable_streaming: bool = False,
        **options: Any,
    ) -> ChatReply | AsyncIterator[ChatEvent]:
        """Ask in a conversation: the reply, or with ``enable_streaming`` an iterator of its events.

        ``options`` are the fields of :class:`Question`. Whatever can refuse has refused before this returns.
        """
        question = Question(content=message_content, **options)
        answer = await self.ask(user_id, conversation_id, question, streaming=enable_streaming)
        return _events_of(answer) if enable_streaming else await answer.wait_for_reply()

    async def ask(
        self,
        user_id: UUID,
        conversation_id: UUID,
        question: Question,
        *,
        streaming: bool,
        request_key: RequestKey | None = None,
    ) -> AnswerLog:
        """Open the turn and let it run on its own; the log tells how it goes, with ``streaming`` piece by piece.

        The same ``request_key`` again joins the running answer or repeats the finished one; nothing is charged twice.
        """
        self._hub.refuse_when_draining()
        longest = self._settings().max_message_chars
        if len(question.content) > longest:
            raise InvalidField("message", f"has {len(question.content)} characters; at most {longest} are allowed.")
        ids = MessageIds(asked=new_id(), answer=new_id())
        answer = self._hub.prepare(ids.answer)
        try:
            turn = await self._open_turn(ids, user_id, conversation_id, question, request_key)
        except BaseException:
            self._hub.discard(answer)
            raise
        if isinstance(turn, IdempotencyKey):
            self._hub.discard(answer)
            return self._repeat(turn)
        self._hub.start(answer, lambda answer: self._run(turn, answer, streaming=streaming))
        return answer

    async def aclose(self) -> None:
        """Finish what runs, then close the connections. For scripts: nothing can be asked afterwards."""
        await self._hub.drain(self._settings().shutdown_grace_seconds)
        await self._leases.aclose()
        await self._openrouter.aclose()
        await self._database.close()

    # open

    async def _open_turn(
        self,
        ids: MessageIds,
        user_id: UUID,
        conversation_id: UUID,
        question: Question,
        request_key: RequestKey | None,
    ) -> Turn | IdempotencyKey:
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            if request_key is not None:
                claimed = await uow.idempotency.claim(
                    user_id, request_key.key, fingerprint=request_key.fingerprint, message_id=ids.answer, now=now
                )
                if claimed is not None:
                    return _same_request(claimed, request_key)
            mode = await uow.turns.touch_conversation(user_id, conversation_id, now=now)
            if mode is None:
                raise NotFound(f"No conversation {str(conversation_id)!r}.")
            plan = await uow.subscriptions.require_plan(user_id)
            preset = await uow.presets.require_readable(user_id, question.preset_id) if question.preset_id else None
            limit = self._settings().llm_history_messages
            past = await uow.turns.list_newest_messages(user_id, conversation_id, limit=limit + 1)
            prompt = assemble_prompt(
                mode=mode, preset=preset, question=question, past=past[-limit:] if limit else [], more=len(past) > limit
            )
            planned, prompt = self._plan(user_id, conversation_id, question, plan.limits, preset, prompt)
            prompt_tokens = estimate_prompt_tokens(planned.request.messages)
            ask = TurnAsk(
                prompt_tokens,
                planned.request.max_tokens,
                self._openrouter.dearest_prices(planned.route, prompt_tokens=prompt_tokens),
            )
            lease = await self._quotas.reserve(
                uow, user_id, plan, ask, message_id=ids.answer, model=planned.request.model, now=now
            )
            turn = Turn(
                user_id=user_id,
                conversation_id=conversation_id,
                user_message_id=ids.asked,
                message_id=ids.answer,
                created_at=now,
                lease=lease,
                planned=planned.limited_to(lease.grant.max_tokens),
                request_key=request_key,
                kept_messages=len(prompt.history) if prompt.is_trimmed else None,
            )
            await uow.turns.add_messages(opening_rows(turn, question))
            await uow.commit()
        return turn

    def _plan(
        self,
        user_id: UUID,
        conversation_id: UUID,
        question: Question,
        limits: PlanLimits,
        preset: ModelPreset | None,
        prompt: Prompt,
    ) -> tuple[PlannedCompletion, Prompt]:
        choice = self._gates.choose_models(
            limits,
            model=question.model or (preset.model if preset else None),
            fallback_models=question.fallback_models,
        )
        caches, cache_notes = self._gates.allows_caching(limits, asked=question.enable_caching)
        max_tokens = question.max_tokens or (preset.max_tokens if preset else None) or self._settings().llm_max_tokens
        model = self._openrouter.catalog.get(choice.model or self._settings().llm_model)
        window = min(limits.max_context_tokens, (model and model.context_length) or limits.max_context_tokens)
        prompt = prompt.fitted(window, max_tokens)
        planned = self._openrouter.plan(
            messages=prompt.messages,
            model=choice.model,
            fallback_models=choice.fallback_models,
            user_id=user_id,
            conversation_id=conversation_id,
            enable_caching=caches,
            temperature=_first_given(question.temperature, preset.temperature if preset else None),
            top_p=preset.top_p if preset else None,
            max_tokens=min(max_tokens, window - prompt.tokens),
        )
        return planned.noting(*choice.notes, *cache_notes), prompt

    # call

    async def _run(self, turn: Turn, answer: AnswerLog, *, streaming: bool) -> None:
        structlog.contextvars.bind_contextvars(message_id=str(turn.message_id))
        answer.append(started(turn))
        if turn.kept_messages is not None:
            answer.append(ContextTrimmed(kept_messages=turn.kept_messages))
        shown: list[str] = []
        call = self._openrouter.call(turn.planned)
        try:
            with self._leases.keep(turn.lease):
                result = await self._follow(turn, call, answer, shown) if streaming else await call.complete()
        except ModelCallFailed as refusal:
            await uninterrupted(self._close_failed(turn, refusal, "".join(shown)))
            answer.refusal = refusal
            answer.append(failed(turn, refusal))
        except asyncio.CancelledError:
            await self._close_interrupted(turn, call, "".join(shown))
            answer.append(MessageInterrupted(message_id=turn.message_id))
            raise
        else:
            await uninterrupted(self._close_completed(turn, result))
            answer.append(reply(turn, result))

    async def _follow(self, turn: Turn, call: ModelCall, answer: AnswerLog, shown: list[str]) -> ChatResult:
        """Tell the readers each piece as it comes; ``shown`` collects the text, for whoever closes a broken turn."""
        notes: dict[str, asyncio.Task[None]] = {}
        try:
            async with aclosing(call.stream()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, ChatResult):
                        return piece
                    if isinstance(piece, GenerationStarted):
                        if piece.generation_id is not None and piece.generation_id not in notes:
                            note = self._note_generation(turn, piece.generation_id)
                            notes[piece.generation_id] = asyncio.create_task(note)
                        continue
                    if isinstance(piece, ContentDelta | RefusalDelta):
                        shown.append(piece.text)
                    event = told(piece)
                    if event is not None:
                        answer.append(event)
            raise AssertionError("a stream ends with its result or raises")
        finally:
            await asyncio.gather(*notes.values())

    async def _note_generation(self, turn: Turn, generation_id: str) -> None:
        # Beside the stream, not before it: should this process die, the bill can still be asked for.
        try:
            async with self._database.unit_of_work() as uow:
                await uow.quotas.note_generation(turn.user_id, turn.lease.id, generation_id)
                await uow.commit()
        except (SQLAlchemyError, OSError):
            log.warning("turn.generation_not_noted", generation_id=generation_id)

    # close

    async def _close_completed(self, turn: Turn, result: ChatResult) -> None:
        now = self._clock()
        rows = attempt_rows(turn, result.attempts, now=now)
        rows[-1]["cache_discount_usd"] = result.cache_discount_usd
        answer, lost = answered_call(rows[-1]), lost_calls(rows[:-1])
        async with self._database.unit_of_work() as uow:
            if await self._quotas.settle(uow, turn.lease, answer, lost=lost, now=now):
                await uow.turns.close_message(turn.user_id, turn.message_id, completed_values(turn, result, now), rows)
                if turn.request_key is not None:
                    told_reply = encode(reply(turn, result)).decode()
                    await uow.idempotency.keep_reply(turn.user_id, turn.request_key.key, told_reply)
                await uow.commit()
        log.info(
            "turn.completed",
            routing_strategy=result.route.routing_strategy,
            fallback_used=result.route.fallback_used,
            models_attempted=list(result.route.models_attempted),
            final_model_used=result.model,
        )

    async def _close_failed(self, turn: Turn, refusal: ModelCallFailed, shown: str) -> None:
        values = {"error_code": refusal.code, **_route_values(turn, refusal.attempts)}
        await self._close_unanswered(turn, "failed", shown, values, refusal.attempts)
        log.warning("turn.failed", error_code=refusal.code, reason=refusal.fields.get("reason"))

    async def _close_interrupted(self, turn: Turn, call: ModelCall, shown: str) -> None:
        await self._close_unanswered(turn, "interrupted", shown, _route_values(turn, call.attempts), call.attempts)
        log.warning("turn.interrupted")

    async def _close_unanswered(
        self, turn: Turn, status: str, shown: str, values: dict[str, Any], attempts: Sequence[Attempt]
    ) -> None:
        now = self._clock()
        rows = attempt_rows(turn, attempts, now=now)
        async with self._database.unit_of_work() as uow:
            await self._quotas.release(uow, turn.lease, lost=lost_calls(rows), now=now)
            ending = ending_values(status, shown, now) | values
            await uow.turns.close_message(turn.user_id, turn.message_id, ending, rows)
            if turn.request_key is not None:  # nothing came of it: the same key may try again
                await uow.idempotency.forget(turn.user_id, turn.request_key.key)
            await uow.commit()

    # repeat

    def _repeat(self, claimed: IdempotencyKey) -> AnswerLog:
        running = self._hub.find(claimed.message_id)
        if running is not None:
            return running
        answer = self._hub.prepare(claimed.message_id)
        self._hub.start(answer, lambda answer: self._retell(claimed, answer))
        return answer

    async def _retell(self, claimed: IdempotencyKey, answer: AnswerLog) -> None:
        """Tell an answer that was made before or is being made by another process, once it is whole."""
        current: IdempotencyKey | None = claimed
        while current is not None and current.reply is None:
            await asyncio.sleep(REPEAT_POLL_SECONDS)
            async with self._database.read_only() as uow:
                current = await uow.idempotency.get(claimed.user_id, claimed.key)
        if current is None or current.reply is None:
            answer.refusal = RepeatedRequestFailed("The request sent first under this key failed. Send it again.")
            return
        last = decode_reply(current.reply)
        for event in retold(last):
            answer.append(event)


def _route_values(turn: Turn, attempts: Sequence[Attempt]) -> dict[str, Any]:
    asked = dict.fromkeys(model for each in attempts for model in each.models_asked)
    return {"routing_strategy": turn.planned.route.strategy, "models_attempted": list(asked)}


def _same_request(claimed: IdempotencyKey, request_key: RequestKey) -> IdempotencyKey:
    if claimed.fingerprint != request_key.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came with another body before. Use a new key.")
    return claimed


async def _events_of(answer: AnswerLog) -> AsyncIterator[ChatEvent]:
    async for logged in answer.read():
        yield logged.event


def _first_given(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


enhanced_chat_service = EnhancedChatService(
    settings=get_settings,
    database=database,
    openrouter=openrouter_service,
    quotas=quota_service,
    gates=plan_gates,
    leases=lease_keeper,
    hub=generation_hub,
)
