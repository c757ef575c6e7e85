"""Requests sent again under their idempotency key: a running answer is joined, a finished one repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from app.core.errors import AppError, Conflict
from app.db.database import Database, database
from app.db.models import IdempotencyKey
from app.db.unit_of_work import UnitOfWork
from app.services.answer_log import AnswerLog
from app.services.chat_events import decode_reply, retold
from app.services.chat_turn import RequestKey
from app.services.generation_hub import GenerationHub, generation_hub

REPEAT_POLL_SECONDS = 0.2
REPEAT_WAIT_SECONDS = 30.0
"""How long a repeated request waits for an answer that another process is making."""


class IdempotencyKeyReused(Conflict):
    """The same key with a different body."""

    code = "idempotency_key_reused"


class RepeatedRequestFailed(AppError):
    """The request that was joined failed; its key is free again."""

    status_code = 502
    code = "repeated_request_failed"


class RepeatedRequests:
    """Finds the answer that came of a request sent before."""

    def __init__(self, *, database: Database, hub: GenerationHub) -> None:
        self._database = database
        self._hub = hub

    async def answer(self, claimed: IdempotencyKey) -> AnswerLog:
        """The log of the answer: the running one, wherever it runs, or one that retells it."""
        running = await self._hub.find_anywhere(claimed.user_id, claimed.message_id)
        if running is not None:
            return running
        answer = AnswerLog(claimed.user_id, claimed.message_id)
        self._hub.retell(answer, lambda answer: self._retell(claimed, answer))
        return answer

    async def _retell(self, claimed: IdempotencyKey, answer: AnswerLog) -> None:
        """Tell an answer that was made before or is being made by another process, once it is whole."""

        async def read_along() -> None:  # it may have opened a moment ago, and be found only now
            running = await self._hub.find_anywhere(claimed.user_id, claimed.message_id)
            if running is not None:
                await answer.repeat(running)

        try:
            last = decode_reply(await self.wait_for_reply(claimed, meanwhile=read_along))
        except RepeatedRequestFailed as refusal:
            answer.refusal = answer.refusal or refusal
        else:
            for event in retold(last) if not answer.count else ():
                answer.append(event)
        if answer.count and not answer.is_closed:  # the rest stands under numbers of its own
            answer.break_off()

    async def wait_for_reply(
        self, claimed: IdempotencyKey, *, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> str:
        """What was kept for the request that came first, once it is there; raises :class:`RepeatedRequestFailed`.

        ``meanwhile`` is done each time before it is looked for.
        """
        current: IdempotencyKey | None = claimed
        deadline = _now() + REPEAT_WAIT_SECONDS
        while current is not None and current.reply is None and _now() < deadline:
            await asyncio.sleep(REPEAT_POLL_SECONDS)
            if meanwhile is not None:
                await meanwhile()
            async with self._database.read_only() as uow:
                current = await uow.idempotency.get(claimed.user_id, claimed.key)
        if current is None or current.reply is None:
            raise RepeatedRequestFailed("The request sent first under this key has not been answered. Send it again.")
        return current.reply


def _now() -> float:
    return asyncio.get_running_loop().time()


async def claim(
    uow: UnitOfWork, user_id: UUID, request_key: RequestKey, *, made: UUID, now: datetime
) -> IdempotencyKey | None:
    """Take a key for what is about to be ``made``; if it is taken, what for. Comes before limits and quota.

    Raises :class:`IdempotencyKeyReused` if the key came with another body.
    """
    claimed = await uow.idempotency.claim(
        user_id, request_key.key, fingerprint=request_key.fingerprint, message_id=made, now=now
    )
    if claimed is not None and claimed.fingerprint != request_key.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came with another body before. Use a new key.")
    return claimed


repeated_requests = RepeatedRequests(database=database, hub=generation_hub)
