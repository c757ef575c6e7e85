"""Running answers: each is a task of the process, not of a request, and writes events to a log that readers follow."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from app.core.errors import AppError, ServiceUnavailable
from app.services.chat_events import ChatEvent, ChatReply, MessageFailed, MessageInterrupted, encode

log = structlog.get_logger(__name__)

KEPT_SECONDS = 60.0
"""How long the log of an answer is kept after its end, for readers who come late."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the log (from 1) and its data, encoded once however many readers there are."""

    sequence: int
    event: ChatEvent
    data: bytes


class AnswerLog:
    """The events of one answer. Any number of readers, each from where it left off."""

    def __init__(self, message_id: UUID) -> None:
        self.message_id = message_id
        self.refusal: AppError | None = None
        self._events: list[LoggedEvent] = []
        self._is_closed = False
        self._waiting: list[asyncio.Future[None]] = []
        self._at_the_end: list[Callable[[], None]] = []

    @property
    def is_closed(self) -> bool:
        """The last event has been written."""
        return self._is_closed

    def append(self, event: ChatEvent) -> None:
        """Write an event and wake the readers. The last event closes the log; nothing follows it."""
        if self._is_closed:
            raise RuntimeError("this answer has ended")
        self._events.append(LoggedEvent(len(self._events) + 1, event, encode(event)))
        self._is_closed = event.is_last
        if self._is_closed:
            for act in self._at_the_end:
                act()
        self._wake()

    def when_closed(self, act: Callable[[], None]) -> None:
        """Do something once with the last event, before any reader sees it; at once if it has been written."""
        if self._is_closed:
            act()
        else:
            self._at_the_end.append(act)

    async def read(self, *, after: int = 0) -> AsyncGenerator[LoggedEvent]:
        """The events behind sequence number ``after``, as they come, until the last."""
        async for batch in self.follow(after=after, idle_seconds=None):
            for logged in batch:
                yield logged

    async def follow(self, *, after: int, idle_seconds: float | None) -> AsyncGenerator[list[LoggedEvent]]:
        """Like :meth:`read`, all that is there at once; an empty list for every ``idle_seconds`` without anything."""
        position = after
        while True:
            batch = self._events[position:]
            if batch:
                yield batch
                position += len(batch)
            elif self._is_closed:
                return
            elif not await self._next_event(idle_seconds):
                yield []

    async def wait_for_reply(self) -> ChatReply:
        """The whole answer once it has come; raises the refusal it ended with."""
        while not self._is_closed:
            await self._next_event(None)
        last = self._events[-1].event
        if isinstance(last, ChatReply):
            return last
        raise self.refusal or ServiceUnavailable("The server stopped before the answer was complete. Ask again.")

    async def _next_event(self, seconds: float | None) -> bool:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


async def uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end even if this task is cancelled meanwhile; the cancellation is passed on afterwards."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


class GenerationHub:
    """Starts answers and sees them through; at shutdown it waits for them, then hands over what is left."""

    def __init__(self) -> None:
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._logs: dict[UUID, AnswerLog] = {}
        self._is_draining = False

    @property
    def running(self) -> int:
        """How many answers are being made."""
        return len(self._running)

    def refuse_when_draining(self) -> None:
        """Raise :class:`ServiceUnavailable` once the server is on its way down."""
        if self._is_draining:
            raise ServiceUnavailable("The server is restarting. Try again in a moment.", headers={"Retry-After": "5"})

    def prepare(self, message_id: UUID) -> AnswerLog:
        """The log of an answer that is about to start, so that others can find it from the first moment."""
        answer = self._logs[message_id] = AnswerLog(message_id)
        return answer

    def discard(self, answer: AnswerLog) -> None:
        """Forget an answer that was refused before it started."""
        self._logs.pop(answer.message_id, None)

    def find(self, message_id: UUID) -> AnswerLog | None:
        """The log of an answer that runs here or ended here a short while ago."""
        return self._logs.get(message_id)

    def start(self, answer: AnswerLog, generate: Callable[[AnswerLog], Awaitable[None]]) -> None:
        """Run ``generate`` in a task of its own; it writes to ``answer``."""
        task = asyncio.create_task(self._see_through(answer, generate), name=f"answer {answer.message_id}")
        self._running[answer.message_id] = task
        task.add_done_callback(lambda _: self._end(answer))

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing new; give running answers ``grace_seconds``, then cancel them so that they close themselves."""
        self._is_draining = True
        tasks = list(self._running.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._is_draining = False

    def _end(self, answer: AnswerLog) -> None:
        self._running.pop(answer.message_id, None)
        if not answer.is_closed:  # cancelled before its first step
            answer.append(MessageInterrupted(message_id=answer.message_id))
        asyncio.get_running_loop().call_later(KEPT_SECONDS, self._logs.pop, answer.message_id, None)

    async def _see_through(self, answer: AnswerLog, generate: Callable[[AnswerLog], Awaitable[None]]) -> None:
        try:
            await generate(answer)
        except asyncio.CancelledError:
            if not answer.is_closed:
                answer.append(MessageInterrupted(message_id=answer.message_id))
            raise
        except Exception:
            # A defect of ours. The lease runs out by itself; readers must not wait for an end that never comes.
            log.exception("answer.crashed", message_id=str(answer.message_id))
            answer.refusal = AppError("Something went wrong on our side. Nothing was charged.")
        finally:
            if not answer.is_closed:
                refusal = answer.refusal or AppError("The answer ended without a result. Nothing was charged.")
                answer.append(MessageFailed(message_id=answer.message_id, error=refusal.code, detail=refusal.detail))


generation_hub = GenerationHub()
