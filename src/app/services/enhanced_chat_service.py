"""Asking in a conversation: opens the turn, where everything that can refuse refuses, and lets it run."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import structlog

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import InvalidField, NotFound
from app.core.ids import new_id
from app.core.text import is_storable
from app.db.database import Database, database
from app.db.models import IdempotencyKey, ModelPreset
from app.domain.plans import PlanLimits
from app.domain.quotas import TurnAsk
from app.openrouter.tokens import estimate_prompt_tokens
from app.services.chat_events import ChatEvent, ChatReply
from app.services.chat_turn import MessageIds, Question, RequestKey, Turn, opening_rows
from app.services.generation_hub import AnswerLog, GenerationHub, generation_hub
from app.services.model_call import PlannedCompletion
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.plan_gates import PlanGates, plan_gates
from app.services.prompt_window import Prompt, assemble_prompt
from app.services.quota_service import QuotaService, quota_service
from app.services.repeated_requests import RepeatedRequests, repeated_requests, require_same_request
from app.services.turn_runner import TurnRunner, turn_runner

log = structlog.get_logger(__name__)


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
        runner: TurnRunner,
        repeated: RepeatedRequests,
        hub: GenerationHub,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._gates = gates
        self._runner = runner
        self._repeated = repeated
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
            return self._repeated.answer(turn)
        self._hub.start(answer, lambda answer: self._runner.run(turn, answer, streaming=streaming))
        return answer

    async def knows_request(self, user_id: UUID, key: str) -> bool:
        """Whether a request came before under this idempotency key."""
        if not is_storable(key):
            return False
        async with self._database.read_only() as uow:
            return await uow.idempotency.get(user_id, key) is not None

    async def aclose(self) -> None:
        """Finish what runs, then close the connections. For scripts: nothing can be asked afterwards."""
        await self._hub.drain(self._settings().shutdown_grace_seconds)
        await self._runner.aclose()
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
                    return require_same_request(claimed, request_key)
            mode = await uow.turns.touch_conversation(user_id, conversation_id, now=now)
            if mode is None:
                raise NotFound(f"No conversation {str(conversation_id)!r}.")
            plan = await uow.subscriptions.require_plan(user_id, now=now)
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
            kinds=prompt.kinds,
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
    runner=turn_runner,
    repeated=repeated_requests,
    hub=generation_hub,
)
