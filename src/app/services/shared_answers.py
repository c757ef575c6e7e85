"""Answers across processes that share a server: logs are written there and read there, and stops are passed on."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.coordination.coordination import Coordination, coordination
from app.coordination.streams import Entry, SharedStreams
from app.core.config import Settings, get_settings
from app.core.errors import AppError, NotFound
from app.db.database import Database, database
from app.services.answer_log import AnswerLog, LoggedEvent
from app.services.chat_events import ChatEvent, MessageFailed, encode

log = structlog.get_logger(__name__)

LOG_PREFIX = "wisqu:answers:1:"
READERS_PREFIX = "wisqu:readers:1:"
STOPS_KEY = "wisqu:stops:1"
MARGIN_SECONDS = 60.0
"""How long a log outlives the longest answer, should its process die."""
GATHER_SECONDS = 0.05
"""How long events gather before more of an answer is written: each write costs as much as many events."""
AGAIN_SECONDS = 1.0
"""Before what the server did not take is offered to it again."""
PRESENCE_SECONDS = 15
"""How long a reader in another process counts as present without saying so again."""
ROUND_SECONDS = 5.0
"""How often a process looks after the logs it mirrors; one that nobody wanted for so long is let go."""
STILL_ROUNDS = 3
"""So many rounds without news are waited, behind the stored end of an answer, for the end of its log."""

Stop = Callable[[UUID, UUID, str], object]


class AnswerFailedElsewhere(AppError):
    """No model answered; the process that asked knows more than its last event says."""

    status_code = 502
    code = "upstream_failed"


@dataclass(slots=True)
class _Mirror:
    """The log of an answer that is made elsewhere, as far as it has been heard of. ``wanted_at``: last asked for."""

    answer: AnswerLog
    wanted_at: float
    count_before: int = -1
    still_rounds: int = 0

    def receive(self, entries: list[Entry]) -> None:
        answer = self.answer
        for entry in entries:
            if entry.sequence == answer.count + 1 and not answer.is_closed:  # what was read at first may come again
                answer.append_encoded(entry.name, entry.data)
        if isinstance(answer.ending, MessageFailed):
            answer.refusal = AnswerFailedElsewhere(answer.ending.detail, attempts=answer.ending.attempts)


class SharedAnswers:
    """Without a shared server nothing here does anything: nobody is found, nobody is told."""

    def __init__(self, *, settings: Callable[[], Settings], coordination: Coordination, database: Database) -> None:
        self._settings = settings
        self._coordination = coordination
        self._database = database
        self._mirrors: dict[str, _Mirror] = {}
        self._given_up: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rounds: asyncio.Task[None] | None = None
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
        if key in self._given_up:
            return None
        if key not in self._mirrors:
            entries = await streams.read(key)
            if not entries:
                return None
            if key not in self._mirrors:
                answer = AnswerLog(user_id, message_id)
                self._mirror(streams, key, answer, entries)
                if answer.is_closed:
                    return answer
        mirror = self._mirrors[key]
        mirror.wanted_at = _now()
        if not mirror.answer.readers:
            await streams.mark(READERS_PREFIX + str(message_id), seconds=PRESENCE_SECONDS)
        return mirror.answer

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

    def let_readers_go(self) -> None:
        """This process ends: who reads along in the answers of others finds them elsewhere."""
        for mirror in list(self._mirrors.values()):
            mirror.answer.break_off()

    async def aclose(self) -> None:
        """Let the last events out, for a moment; then stop."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=AGAIN_SECONDS)
            for task in late:
                task.cancel()
        rounds, self._rounds = self._rounds, None
        if rounds is not None:
            rounds.cancel()
            with suppress(asyncio.CancelledError):
                await rounds

    async def _publish(self, streams: SharedStreams, answer: AnswerLog) -> None:
        written: int | None = 0
        while written is not None and not (answer.is_closed and written >= answer.count):
            async with aclosing(answer.follow(after=written, counts=False)) as batches:
                async for batch in batches:
                    written = await self._write(streams, answer, batch)
                    if written is None or written < batch[-1].sequence:
                        break  # given up; or the server has lost what it had: once more from there
                    if not answer.is_closed:
                        await asyncio.sleep(GATHER_SECONDS)

    async def _write(self, streams: SharedStreams, answer: AnswerLog, batch: list[LoggedEvent]) -> int | None:
        """The newest event the server has; ``None`` when it was away until the log had to be forgotten here too."""
        settings = self._settings()
        key = _log_key(answer.user_id, answer.message_id)
        entries = [Entry(*logged) for logged in batch]
        after_the_end = settings.answer_log_keep_seconds
        while True:
            seconds = settings.openrouter_total_timeout_seconds + MARGIN_SECONDS
            keep_seconds = settings.answer_log_keep_seconds if answer.is_closed else seconds
            written = await streams.append(key, entries, keep_seconds=keep_seconds)
            if written is not None or after_the_end < 0:
                return written
            after_the_end -= AGAIN_SECONDS if answer.is_closed else 0
            await asyncio.sleep(AGAIN_SECONDS)

    def _mirror(self, streams: SharedStreams, key: str, answer: AnswerLog, entries: list[Entry]) -> None:
        mirror = self._mirrors[key] = _Mirror(answer, _now())
        mirror.receive(entries)
        answer.when_closed(lambda: self._forget(streams, key))
        if not answer.is_closed:
            streams.follow(key, after=answer.count, receive=mirror.receive)
            if self._rounds is None or self._rounds.done():
                self._rounds = asyncio.create_task(self._make_rounds(streams), name="mirrored answers")

    def _forget(self, streams: SharedStreams, key: str) -> None:
        streams.unfollow(key)
        self._mirrors.pop(key, None)

    async def _make_rounds(self, streams: SharedStreams) -> None:
        while self._mirrors:
            await asyncio.sleep(ROUND_SECONDS)
            for key, mirror in list(self._mirrors.items()):
                await self._look_after(streams, key, mirror)

    async def _look_after(self, streams: SharedStreams, key: str, mirror: _Mirror) -> None:
        answer = mirror.answer
        if answer.readers:
            await streams.mark(READERS_PREFIX + str(answer.message_id), seconds=PRESENCE_SECONDS)
            mirror.still_rounds = mirror.still_rounds + 1 if answer.count == mirror.count_before else 0
            mirror.count_before = answer.count
            if mirror.still_rounds and await self._will_stay_still(streams, key, mirror):
                self._forget(streams, key)
                answer.break_off()
        elif _now() - mirror.wanted_at > ROUND_SECONDS:
            self._forget(streams, key)

    async def _will_stay_still(self, streams: SharedStreams, key: str, mirror: _Mirror) -> bool:
        """Whether nothing more is to be heard: the stored message knows the end."""
        if await streams.exists(key) is False:
            return True  # the server lost its data, and the end with it; the log may come anew
        if mirror.still_rounds < STILL_ROUNDS or not await self._has_ended(mirror.answer):
            return False
        # A server that is full, or was away, did not take the end. What it holds would keep everybody waiting.
        self._given_up.add(key)
        seconds = self._settings().openrouter_total_timeout_seconds + MARGIN_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._given_up.discard, key)
        log.warning("answer.end_not_shared", message_id=str(mirror.answer.message_id))
        return True

    async def _has_ended(self, answer: AnswerLog) -> bool:
        try:
            async with self._database.read_only() as uow:
                message = await uow.conversations.require_answer(answer.user_id, answer.message_id)
                return message.status != "pending"
        except NotFound:
            return True
        except (SQLAlchemyError, OSError):
            return False

    def _hear_stops(self, signals: list[Entry]) -> None:
        for signal in signals:
            user_id, _, message_id = signal.data.decode().partition(" ")
            self._stop(UUID(user_id), UUID(message_id), signal.name)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _log_key(user_id: UUID, message_id: UUID) -> str:
    # The owner is part of the name: somebody else's answer is simply not found.
    return f"{LOG_PREFIX}{user_id}:{message_id}"


shared_answers = SharedAnswers(settings=get_settings, coordination=coordination, database=database)
