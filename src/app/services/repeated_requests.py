"""Requests sent again under their idempotency key: a running answer is joined, a finished one repeated."""

import asyncio

from app.core.errors import AppError, Conflict
from app.db.database import Database, database
from app.db.models import IdempotencyKey
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
        current: IdempotencyKey | None = claimed
        deadline = _now() + REPEAT_WAIT_SECONDS
        while current is not None and current.reply is None and _now() < deadline:
            await asyncio.sleep(REPEAT_POLL_SECONDS)
            async with self._database.read_only() as uow:
                current = await uow.idempotency.get(claimed.user_id, claimed.key)
        if current is None or current.reply is None:
            answer.refusal = RepeatedRequestFailed(
                "The request sent first under this key has not been answered. Send it again."
            )
            return
        last = decode_reply(current.reply)
        for event in retold(last):
            answer.append(event)


def _now() -> float:
    return asyncio.get_running_loop().time()


def require_same_request(claimed: IdempotencyKey, request_key: RequestKey) -> IdempotencyKey:
    """What the key was claimed for; raises :class:`IdempotencyKeyReused` if the body was another."""
    if claimed.fingerprint != request_key.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came with another body before. Use a new key.")
    return claimed


repeated_requests = RepeatedRequests(database=database, hub=generation_hub)
