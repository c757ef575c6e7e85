"""Runs an open turn: call (holds no connection), close (message, money and attempts in one commit)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import Clock, utc_now
from app.db.database import Database, database
from app.db.repositories.closings import MessageEnd
from app.domain.rollups import AnswerFacts
from app.openrouter.route_run import AttemptFailed
from app.openrouter.structured_output import PartialAnswer
from app.openrouter.types import ContentDelta, GenerationStarted, RefusalDelta
from app.services.answer_checkpoints import AnswerCheckpoints, ShownText, answer_checkpoints
from app.services.answer_log import AnswerLog
from app.services.cache_keeper import CacheKeeper, cache_keeper
from app.services.cache_watch import CacheWatch, cache_watch
from app.services.chat_events import (
    Billing,
    ChatEvent,
    ChatReply,
    MessageInterrupted,
    MessageStopped,
    encode,
    failed,
    reply,
    started,
    stopped,
    told,
    told_failure,
    told_structured,
    trimmed,
)
from app.services.chat_turn import (
    Turn,
    answer_facts,
    answered_call,
    attempt_rows,
    completed_values,
    ending_values,
    lost_calls,
    service_fees,
    stopped_values,
    structured_values,
)
from app.services.citations import Sources
from app.services.closing import durably, uninterrupted
from app.services.generation_hub import GenerationHub, generation_hub
from app.services.lease_keeper import LeaseKeeper, lease_keeper
from app.services.model_call import ChatResult, ModelCall, ModelCallFailed, tell_route
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.quota_service import BilledCall, QuotaService, quota_service
from app.services.turn_files import TurnFileReader, turn_file_reader

log = structlog.get_logger(__name__)


class TurnRunner:
    """Takes a turn from its open transaction to its closing one, and tells the log of its answer how it goes."""

    def __init__(
        self,
        *,
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        leases: LeaseKeeper,
        watch: CacheWatch,
        keeper: CacheKeeper,
        checkpoints: AnswerCheckpoints,
        files: TurnFileReader,
        hub: GenerationHub,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._leases = leases
        self._watch = watch
        self._keeper = keeper
        self._checkpoints = checkpoints
        self._files = files
        self._hub = hub
        self._clock = clock

    async def run(self, turn: Turn, answer: AnswerLog) -> None:
        """See the turn through; whatever happens, it is closed and its last event written."""
        structlog.contextvars.bind_contextvars(message_id=str(turn.message_id))
        answer.append(started(turn))
        if turn.trimmed is not None:
            answer.append(trimmed(turn.trimmed))
        shown, sources = ShownText(), Sources()
        call = self._openrouter.call(turn.planned, load=self._files.loader(turn.user_id))
        try:
            with self._leases.keep(turn.lease), self._checkpoints.keep(turn, shown):
                result = await self._follow(turn, call, answer, shown, sources)
        except ModelCallFailed as refusal:
            answer.refusal = refusal
            close = partial(self._close_failed, turn, call, refusal, shown.text, answer)
            await self._end(answer, failed(turn, refusal), close)
        except asyncio.CancelledError:
            reason = self._hub.stop_reason(answer)
            if reason is not None:
                _stay()
            if call.result is not None:  # it was whole before anybody could cut it
                await self._complete(turn, call.result, answer)
            elif reason is not None:
                ending = stopped(turn, call, shown.text, sources.within(shown.text), reason)
                await self._end(answer, ending, partial(self._close_stopped, turn, call, ending, answer))
            else:
                close = partial(self._close_interrupted, turn, call, shown.text, sources, answer)
                await self._end(answer, MessageInterrupted(message_id=turn.message_id), close)
            if reason is None:
                raise
        else:
            await self._complete(turn, result, answer)

    async def aclose(self) -> None:
        """Stop what runs beside the answers."""
        await self._leases.aclose()
        await self._checkpoints.aclose()

    async def _complete(self, turn: Turn, result: ChatResult, answer: AnswerLog) -> None:
        await self._end(answer, reply(turn, result), partial(self._close_completed, turn, result, answer))

    async def _end(self, answer: AnswerLog, ending: ChatEvent, close: Callable[[], Awaitable[None]]) -> None:
        """Write the end down, then tell it: whoever cancels meanwhile comes too late to change it."""
        try:
            await uninterrupted(durably(close))
        except asyncio.CancelledError:
            answer.append(ending)
            if self._hub.stop_reason(answer) is None:
                raise
            _stay()
        else:
            answer.append(ending)

    async def _follow(
        self, turn: Turn, call: ModelCall, answer: AnswerLog, shown: ShownText, sources: Sources
    ) -> ChatResult:
        """Tell the readers each piece as it comes; ``shown`` and ``sources`` collect the text and what is named in it,
        for whoever closes a broken turn.
        """
        notes: dict[str, asyncio.Task[None]] = {}
        partial = PartialAnswer() if turn.planned.schema else None
        try:
            async with aclosing(call.stream()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, ChatResult):
                        return piece
                    if isinstance(piece, GenerationStarted):
                        if piece.generation_id is not None and piece.generation_id not in notes:
                            note = self._note_generation(turn, piece.generation_id)
                            notes[piece.generation_id] = asyncio.create_task(note)
                    elif isinstance(piece, AttemptFailed):
                        shown.clear()
                        sources.clear()
                        partial = partial and PartialAnswer()
                        for failure in told_failure(piece):
                            answer.append(failure)
                    else:
                        if isinstance(piece, ContentDelta | RefusalDelta):
                            shown.add(piece.text)
                        event = told(piece, sources) if partial is None else told_structured(piece, partial, sources)
                        if event is not None:
                            answer.append(event)
            raise AssertionError("a stream ends with its result or raises")
        finally:
            await asyncio.gather(*notes.values())
            await self._files.keep_parsed(turn, call)

    async def _note_generation(self, turn: Turn, generation_id: str) -> None:
        # Beside the stream, not before it: should this process die, the bill can still be asked for.
        try:
            async with self._database.statement_by_statement() as uow:
                await uow.openings.note_generation(turn.user_id, turn.lease.id, generation_id)
                await uow.commit()
        except (SQLAlchemyError, OSError):
            log.warning("turn.generation_not_noted", generation_id=generation_id)

    async def _close_completed(self, turn: Turn, result: ChatResult, answer: AnswerLog) -> None:
        now = self._clock()
        rows = attempt_rows(turn, result.attempts, result.caching, now=now)
        answered, fees = service_fees(result, answered_call(rows[-1], result.caching[-1].account))
        ending = reply(turn, result)
        values = completed_values(turn, result, now) | structured_values(result) | _cited(ending)
        await self._settle(turn, answer, ending, values, answered, rows, now, fees=fees)
        log.info("turn.completed", **tell_route(result.route))
        self._watch.observe(result, preset_id=turn.preset_id)
        self._keeper.note(turn, result)

    async def _close_stopped(self, turn: Turn, call: ModelCall, ending: MessageStopped, answer: AnswerLog) -> None:
        """What came is the person's, and so is its bill, which is asked for by the generation's id."""
        if ending.billing is Billing.NOTHING:
            values = tell_route(call.route) | _cited(ending)
            await self._close_unanswered(turn, "stopped", ending.content, values, call, answer)
            return
        now = self._clock()
        rows = attempt_rows(turn, call.attempts, call.caching, now=now)
        rows[-1]["outcome"] = "stopped"
        values = stopped_values(call, rows[-1], ending.content, now) | _cited(ending)
        answered = answered_call(rows[-1], call.caching[-1].account)
        await self._settle(turn, answer, ending, values, answered, rows, now)
        log.info("turn.stopped", reason=ending.stop_reason, billing=ending.billing, **tell_route(call.route))

    async def _settle(
        self,
        turn: Turn,
        answer: AnswerLog,
        ending: ChatReply,
        values: dict[str, Any],
        answered: BilledCall,
        rows: Sequence[dict[str, Any]],
        now: datetime,
        *,
        fees: Sequence[BilledCall] = (),
    ) -> None:
        """Charge the last call of ``rows`` to the person and end the message with ``values``, together."""
        lost = lost_calls(rows[:-1])
        key = turn.request_key.key if turn.request_key else None
        end = MessageEnd(
            message_id=turn.message_id,
            values=values | {"event_count": answer.count + 1},
            attempts=rows,
            request_key=key,
            reply=encode(ending).decode() if key is not None else None,
        )
        facts = answer_facts(turn, values, now)
        async with self._database.statement_by_statement() as uow:
            is_closed = await self._quotas.settle_at_once(
                uow, turn.lease, answered, fees=fees, lost=lost, facts=facts, end=end, now=now
            )
            await uow.commit()
        if not is_closed:
            await self._close_swept(turn, answered, fees, lost, end, facts)

    async def _close_swept(
        self,
        turn: Turn,
        answered: BilledCall,
        fees: Sequence[BilledCall],
        lost: Sequence[BilledCall],
        end: MessageEnd,
        facts: AnswerFacts,
    ) -> None:
        """The lease ran out while this process was held up, or a first try to close has succeeded after all."""
        async with self._database.unit_of_work() as uow:
            if await self._quotas.settle(
                uow, turn.lease, answered, fees=fees, lost=lost, facts=facts, now=facts.ended_at
            ):
                await uow.turns.close_message(turn.user_id, turn.message_id, end.values, end.attempts)
                if end.request_key is not None and end.reply is not None:
                    await uow.idempotency.keep_reply(turn.user_id, end.request_key, turn.message_id, end.reply)
                await uow.commit()

    async def _close_failed(
        self, turn: Turn, call: ModelCall, refusal: ModelCallFailed, shown: str, answer: AnswerLog
    ) -> None:
        route = tell_route(call.route)
        values = {"error_code": refusal.code, **route}
        if turn.planned.schema is not None:
            values["schema_validation_passed"] = False
        await self._close_unanswered(turn, "failed", shown, values, call, answer)
        log.warning("turn.failed", error_code=refusal.code, reason=refusal.fields.get("reason"), **route)

    async def _close_interrupted(
        self, turn: Turn, call: ModelCall, shown: str, sources: Sources, answer: AnswerLog
    ) -> None:
        route = tell_route(call.route)
        values = route | {"citations": [msgspec.structs.asdict(each) for each in sources.within(shown)]}
        await self._close_unanswered(turn, "interrupted", shown, values, call, answer)
        log.warning("turn.interrupted", **route)

    async def _close_unanswered(
        self,
        turn: Turn,
        status: str,
        shown: str,
        values: dict[str, Any],
        call: ModelCall,
        answer: AnswerLog,
    ) -> None:
        now = self._clock()
        rows = attempt_rows(turn, call.attempts, call.caching, now=now)
        lost = lost_calls(rows)
        ending = ending_values(status, shown, now) | values | {"event_count": answer.count + 1}
        ending["is_provisional"] = any(each.bill_is_to_come for each in lost)
        async with self._database.unit_of_work() as uow:
            await self._quotas.release(uow, turn.lease, lost=lost, facts=answer_facts(turn, ending, now), now=now)
            await uow.turns.close_message(turn.user_id, turn.message_id, ending, rows)
            if turn.request_key is not None:  # nothing came of it: the same key may try again
                await uow.idempotency.forget_unanswered(turn.user_id, turn.message_id)
            await uow.commit()


def _cited(ending: ChatReply) -> dict[str, Any]:
    """The sources that an answer names, as its message keeps them."""
    return {"citations": [msgspec.structs.asdict(each) for each in ending.citations]}


def _stay() -> None:
    """The cancellation did what it was for: this task goes on to close its turn."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


turn_runner = TurnRunner(
    database=database,
    openrouter=openrouter_service,
    quotas=quota_service,
    leases=lease_keeper,
    checkpoints=answer_checkpoints,
    files=turn_file_reader,
    hub=generation_hub,
    watch=cache_watch,
    keeper=cache_keeper,
)
