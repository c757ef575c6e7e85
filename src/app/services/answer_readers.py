"""Finds what somebody who comes late, or comes back, can still read of an answer: its log, else the stored message."""

import asyncio
from uuid import UUID

from app.core.errors import NotFound, ServiceUnavailable
from app.db.database import Database, database
from app.db.models import Message
from app.openrouter.hosts import stops_billing
from app.services.answer_log import MOST_EVENTS, AnswerLog
from app.services.chat_events import (
    Billing,
    ChatEvent,
    ChatReply,
    MessageFailed,
    MessageInterrupted,
    MessageStopped,
    billing_by,
    stored_reply,
)
from app.services.generation_hub import STOPPED, GenerationHub, generation_hub

POLL_SECONDS = 1.0
"""How often a stored message is looked at while another process makes the answer and shares no log."""


class AnswerOutOfReach(ServiceUnavailable):
    """The answer is being made by a process that cannot be told to stop, or does not react."""

    code = "answer_out_of_reach"


class AnswerReaders:
    """Who reads an answer, when it is not simply the request that asked for it."""

    def __init__(self, *, database: Database, hub: GenerationHub) -> None:
        self._database = database
        self._hub = hub

    async def find(self, user_id: UUID, message_id: UUID, *, after: int = 0) -> AnswerLog | None:
        """A log with all that is behind event ``after``; ``None`` when nothing is, nor will be.

        Where no log is left the stored message is told as one last event. Raises ``NotFound``.
        """
        answer = await self._hub.find_anywhere(user_id, message_id)
        if answer is None:
            answer = await self._from_the_stored_message(user_id, message_id, after)
        return None if answer.is_closed and answer.count <= after else answer

    async def wait_for_end(self, user_id: UUID, message_id: UUID, *, seconds: float) -> ChatEvent:
        """The last event of an answer; raises :class:`AnswerOutOfReach` if none has come by then, and ``NotFound``."""
        answer = await self.find(user_id, message_id)
        if answer is None:
            raise AssertionError("every answer has at least one event")
        try:
            async with asyncio.timeout(seconds):
                return await answer.wait_for_end()
        except TimeoutError:
            raise AnswerOutOfReach("The server that writes this answer cannot be reached. Try again.") from None

    async def _from_the_stored_message(self, user_id: UUID, message_id: UUID, after: int) -> AnswerLog:
        message = await self._read(user_id, message_id)
        if message.status == "pending":
            answer = AnswerLog(user_id, message_id, offset=after)
            self._hub.retell(answer, self._tell_once_it_has_ended)
            return answer
        told = AnswerLog(user_id, message_id)
        _tell_the_end(told, message)
        return told

    async def _tell_once_it_has_ended(self, answer: AnswerLog) -> None:
        read_so_far = answer.count
        while True:
            running = await self._hub.find_anywhere(answer.user_id, answer.message_id)
            if running is not None and await answer.repeat(running):
                return
            try:
                message = await self._read(answer.user_id, answer.message_id)
            except NotFound as gone:
                answer.refusal = gone
                return
            if message.status != "pending":
                if answer.count == read_so_far:
                    _tell_the_end(answer, message)
                else:  # its end has another number than the next: who comes back is told under the right one
                    answer.break_off()
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _read(self, user_id: UUID, message_id: UUID) -> Message:
        async with self._database.read_only() as uow:
            return await uow.conversations.require_answer(user_id, message_id)


def _tell_the_end(answer: AnswerLog, message: Message) -> None:
    """One last event under the number it had, so that who has read it is not told again."""
    answer.begin_behind((message.event_count or MOST_EVENTS) - 1)
    answer.append(ending_of(message))


def ending_of(message: Message) -> ChatEvent:
    """The last event of an answer's stream, from what was stored of it."""
    if message.status == "failed":
        detail = "No model could answer. Nothing was charged; try again."
        return MessageFailed(message_id=message.id, error=message.error_code or "upstream_failed", detail=detail)
    if message.status == "interrupted":
        return MessageInterrupted(message_id=message.id)
    if message.status == "completed":
        return stored_reply(ChatReply, message)
    billed = message.generation_id is not None
    billing = billing_by(stops_billing(message.provider)) if billed else Billing.NOTHING
    return stored_reply(MessageStopped, message, stop_reason=STOPPED, billing=billing)


answer_readers = AnswerReaders(database=database, hub=generation_hub)
