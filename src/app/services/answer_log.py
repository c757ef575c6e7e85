"""The log of one answer: its events in order, kept small, and read by any number of readers at their own pace."""

import asyncio
from array import array
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple
from uuid import UUID

from app.core.errors import AppError, ServiceUnavailable
from app.services.chat_events import EVENTS, ChatEvent, ChatReply, decode, encode

BATCH_BYTES = 65_536
"""About how much a reader is handed at once: one that comes late must not be given a whole answer in one piece."""
MOST_EVENTS = 2**31 - 1
"""The highest number an event may bear: that of the last one where nobody knows how many came before."""

_CODES = {event: code for code, event in enumerate(EVENTS)}
_CODES_BY_NAME = {event.name: code for code, event in enumerate(EVENTS)}


class LoggedEvent(NamedTuple):
    """An event with its place in the log (from 1), its SSE name, and its data encoded once for all readers."""

    sequence: int
    name: str
    data: bytes

    @property
    def event(self) -> ChatEvent:
        """The event itself, read back from its data."""
        return decode(self.name, self.data)


class AnswerLog:
    """The events of one answer. Any number of readers, each from where it left off.

    The data of all events lies in one buffer: an event costs its text and five bytes. ``offset``: how many events
    came before those that this log still holds. Readers that join behind nothing get everything it holds.
    """

    def __init__(self, user_id: UUID, message_id: UUID, *, offset: int = 0) -> None:
        self.user_id = user_id
        self.message_id = message_id
        self.refusal: AppError | None = None
        self._offset = offset
        self._data = bytearray()
        self._ends = array("I")
        self._codes = bytearray()
        self._ending: ChatEvent | None = None
        self._is_broken_off = False
        self._readers = 0
        self._waiting: list[asyncio.Future[bool]] = []
        self._at_the_end: list[Callable[[], object]] = []
        self._when_unread: Callable[[], object] | None = None

    @property
    def count(self) -> int:
        """The sequence number of the newest event; 0 before the first."""
        return self._offset + len(self._ends)

    @property
    def readers(self) -> int:
        """How many follow the log now."""
        return self._readers

    @property
    def is_closed(self) -> bool:
        """The last event has been written."""
        return self._ending is not None

    @property
    def is_broken_off(self) -> bool:
        """More is written elsewhere, but not here."""
        return self._is_broken_off

    @property
    def ending(self) -> ChatEvent | None:
        """The last event, once it has been written."""
        return self._ending

    def append(self, event: ChatEvent) -> None:
        """Write an event and wake the readers. The last event closes the log; nothing follows it."""
        self._write(_CODES[type(event)], encode(event))
        if event.is_last:
            self._close(event)
        self._wake()

    def append_encoded(self, name: str, data: bytes) -> None:
        """Write an event that was encoded elsewhere."""
        self._write(_CODES_BY_NAME[name], data)
        if EVENTS[_CODES_BY_NAME[name]].is_last:
            self._close(decode(name, data))
        self._wake()

    def begin_behind(self, sequence: int) -> None:
        """What is written next bears the number behind ``sequence``. Only while the log is empty."""
        if self._ends:
            raise RuntimeError("the events of this answer have their numbers")
        self._offset = sequence

    def break_off(self) -> None:
        """Let the readers go without a last event: what they have stands, and where to read on is theirs to find."""
        self._is_broken_off = True
        self._wake()

    def when_closed(self, act: Callable[[], object]) -> None:
        """Do something once with the last event, before any reader sees it; at once if it has been written."""
        if self.is_closed:
            act()
        else:
            self._at_the_end.append(act)

    def when_unread(self, act: Callable[[], object]) -> None:
        """Do something whenever the last reader leaves before the last event."""
        self._when_unread = act

    def events(self, *, after: int = 0, most_bytes: int | None = None) -> list[LoggedEvent]:
        """What the log holds behind sequence number ``after``: all of it, or the first ``most_bytes`` and a little."""
        index = max(0, after - self._offset)
        if index >= len(self._ends):  # a reader may know more than a log that is mirrored has heard of
            return []
        start = self._ends[index - 1] if index else 0
        found: list[LoggedEvent] = []
        size = 0
        for place in range(index, len(self._ends)):
            end = self._ends[place]
            name = EVENTS[self._codes[place]].name
            found.append(LoggedEvent(self._offset + place + 1, name, bytes(self._data[start:end])))
            size += end - start
            if most_bytes is not None and size >= most_bytes:
                break
            start = end
        return found

    async def read(self, *, after: int = 0) -> AsyncGenerator[LoggedEvent]:
        """The events behind sequence number ``after``, as they come, until the last."""
        async for batch in self.follow(after=after):
            for logged in batch:
                yield logged

    async def follow(
        self, *, after: int, idle_seconds: float | None = None, counts: bool = True
    ) -> AsyncGenerator[list[LoggedEvent]]:
        """Like :meth:`read`, what is there at once; an empty list for every ``idle_seconds`` without anything.

        ``counts``: this is a reader whose staying away means something.
        """
        position = after
        with self._reading() if counts else nullcontext():
            while True:
                batch = self.events(after=position, most_bytes=BATCH_BYTES)
                if batch:
                    yield batch
                    position = batch[-1].sequence
                elif self.is_closed or self.is_broken_off:
                    return
                elif not await self._next_event(idle_seconds):
                    yield []

    async def repeat(self, other: "AnswerLog") -> bool:
        """Write down what another log of this answer holds and gets behind what is here; whether that is all of it."""
        async for logged in other.read(after=self.count):
            self.refusal = other.refusal
            self.append_encoded(logged.name, logged.data)
        return self.is_closed

    async def wait_for_end(self) -> ChatEvent:
        """The last event, once it has come; raises :class:`ServiceUnavailable` where it will not come here."""
        with self._reading():
            while self._ending is None:
                if self.is_broken_off:
                    raise ServiceUnavailable("The server is restarting, and the answer goes on elsewhere. Try again.")
                await self._next_event(None)
        return self._ending

    async def wait_for_reply(self) -> ChatReply:
        """The answer, whole or stopped, once it has come; raises the refusal it ended with."""
        ending = await self.wait_for_end()
        if isinstance(ending, ChatReply):
            return ending
        raise self.refusal or ServiceUnavailable("The server stopped before the answer was complete. Ask again.")

    def _write(self, code: int, data: bytes) -> None:
        if self.is_closed:
            raise RuntimeError("this answer has ended")
        self._data += data
        self._ends.append(len(self._data))
        self._codes.append(code)

    def _close(self, ending: ChatEvent) -> None:
        self._ending = ending
        for act in self._at_the_end:
            act()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers and not self.is_closed and self._when_unread is not None:
                self._when_unread()

    async def _next_event(self, seconds: float | None) -> bool:
        """Whether something came; false when ``seconds`` went by first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(waiter)
        alarm = None if seconds is None else loop.call_later(seconds, _answer, waiter, False)
        try:
            return await waiter
        finally:
            if alarm is not None:
                alarm.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _answer(waiter, True)


def _answer(waiter: asyncio.Future[bool], came: bool) -> None:
    if not waiter.done():
        waiter.set_result(came)
