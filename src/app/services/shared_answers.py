"""Answers across processes that share a server: logs are written there and read there, and stops are passed on."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from app.coordination.coordination import Coordination, coordination
from app.coordination.streams import Entry, SharedStreams
from app.core.config import Settings, get_settings
from app.services.answer_log import AnswerLog
from app.services.chat_events import ChatEvent, encode

LOG_PREFIX = "wisqu:answers:1:"
READERS_PREFIX = "wisqu:readers:1:"
STOPS_KEY = "wisqu:stops:1"
MARGIN_SECONDS = 60.0
"""How long a log outlives the longest answer, should its process die."""
AGAIN_SECONDS = 1.0
"""Before what the server did not take is offered to it again."""
PRESENCE_SECONDS = 15
"""How long a reader in another process counts as present without saying so again."""

Stop = Callable[[UUID, UUID, str], object]


class SharedAnswers:
    """Without a shared server nothing here does anything: nobody is found, nobody is told."""

    def __init__(self, *, settings: Callable[[], Settings], coordination: Coordination) -> None:
        self._settings = settings
        self._coordination = coordination
        self._mirrors: dict[str, AnswerLog] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._presence: asyncio.Task[None] | None = None
        self._stop: Stop = lambda *_: None

    def on_stop(self, stop: Stop) -> None:
        """What to do when another process asks for the end of an answer: called with owner, message and reason."""
        self._stop = stop

    def publish(self, answer: AnswerLog) -> None:
        """Let other processes read the log of an answer that runs here, and stop it."""
        streams = self._coordination.streams
        if streams is not None:
            streams.listen(STOPS_KEY, self._hear_stops)
            self._keep(asyncio.create_task(self._publish(streams, answer), name=f"publish {answer.message_id}"))

    async def find(self, user_id: UUID, message_id: UUID) -> AnswerLog | None:
        """A log that follows the one of another process; ``None`` if none is known."""
        streams = self._coordination.streams
        if streams is None:
            return None
        key = _log_key(user_id, message_id)
        if (known := self._mirrors.get(key)) is not None:
            return known
        entries = await streams.read(key)
        if not entries:
            return None
        return self._mirrors.get(key) or self._mirror(streams, key, AnswerLog(user_id, message_id), entries)

    async def ask_to_stop(self, user_id: UUID, message_id: UUID, reason: str) -> None:
        """Reach the process that makes the answer, whichever it is."""
        if self._coordination.streams is not None:
            data = f"{user_id} {message_id}".encode()
            await self._coordination.streams.signal(STOPS_KEY, reason, data)

    async def end(self, user_id: UUID, message_id: UUID, ending: ChatEvent) -> None:
        """Tell the readers of an answer whose process died how it ended."""
        streams = self._coordination.streams
        if streams is not None:
            key, seconds = _log_key(user_id, message_id), self._settings().answer_log_keep_seconds
            await streams.append_last(key, ending.name, encode(ending), keep_seconds=seconds)

    async def has_readers_elsewhere(self, answer: AnswerLog) -> bool:
        """Whether somebody reads the answer in another process."""
        streams = self._coordination.streams
        return streams is not None and await streams.is_marked(READERS_PREFIX + str(answer.message_id))

    async def aclose(self) -> None:
        """Let the last events out, for a moment; then stop."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=AGAIN_SECONDS)
            for task in late:
                task.cancel()
        presence, self._presence = self._presence, None
        if presence is not None:
            presence.cancel()
            with suppress(asyncio.CancelledError):
                await presence

    async def _publish(self, streams: SharedStreams, answer: AnswerLog) -> None:
        settings = self._settings()
        key = _log_key(answer.user_id, answer.message_id)
        while_running = settings.openrouter_total_timeout_seconds + MARGIN_SECONDS
        async for batch in answer.follow(after=0, counts=False):
            seconds = settings.answer_log_keep_seconds if answer.is_closed else while_running
            entries = [Entry(*logged) for logged in batch]
            while not await streams.append(key, entries, keep_seconds=seconds):  # noqa: ASYNC110  (a server's state)
                await asyncio.sleep(AGAIN_SECONDS)

    def _mirror(self, streams: SharedStreams, key: str, answer: AnswerLog, entries: list[Entry]) -> AnswerLog:
        def receive(entries: list[Entry]) -> None:
            for entry in entries:
                if entry.sequence == answer.count + 1:  # what was read at first may come again
                    answer.append_encoded(entry.name, entry.data)

        def forget() -> None:
            streams.unfollow(key)
            self._mirrors.pop(key, None)

        self._mirrors[key] = answer
        receive(entries)
        answer.when_closed(forget)
        answer.when_unread(forget)
        if not answer.is_closed:
            streams.follow(key, after=answer.count, receive=receive)
            if self._presence is None or self._presence.done():
                self._presence = asyncio.create_task(self._say_who_reads(streams), name="readers' presence")
        return answer

    async def _say_who_reads(self, streams: SharedStreams) -> None:
        while self._mirrors:
            for answer in list(self._mirrors.values()):
                await streams.mark(READERS_PREFIX + str(answer.message_id), seconds=PRESENCE_SECONDS)
            await asyncio.sleep(PRESENCE_SECONDS / 3)

    def _hear_stops(self, signals: list[Entry]) -> None:
        for signal in signals:
            user_id, _, message_id = signal.data.decode().partition(" ")
            self._stop(UUID(user_id), UUID(message_id), signal.name)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _log_key(user_id: UUID, message_id: UUID) -> str:
    # The owner is part of the name: somebody else's answer is simply not found.
    return f"{LOG_PREFIX}{user_id}:{message_id}"


shared_answers = SharedAnswers(settings=get_settings, coordination=coordination)
