"""Running answers: each is a task of the process, not of a request, and writes events to a log that readers follow."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from app.core.config import OnDisconnect, Settings, get_settings
from app.core.errors import AppError, ServiceUnavailable
from app.services.answer_log import AnswerLog
from app.services.chat_events import MessageFailed, MessageInterrupted
from app.services.shared_answers import SharedAnswers, shared_answers

log = structlog.get_logger(__name__)

FIRST_READER_SECONDS = 2.0
"""How long the first reader may take to come where answers that nobody reads are ended."""
ELSEWHERE_SECONDS = 5.0
"""How often those who read in other processes are looked for."""

STOPPED, DISCONNECTED = "stopped", "disconnected"
"""Why an answer was ended before it was whole: somebody said so, or its last reader stayed away."""

Generate = Callable[[AnswerLog], Awaitable[None]]


@dataclass(slots=True, eq=False)
class _Running:
    """An answer being made. ``is_unwanted`` before it ``has_begun``: it ends with its first step."""

    answer: AnswerLog
    task: asyncio.Task[None] = field(init=False)
    has_begun: bool = False
    is_unwanted: bool = False
    stop_reason: str | None = None
    watch: asyncio.Task[None] | None = None

    def end(self) -> None:
        """Have the task end itself. One that has not begun would never run, and so close nothing: it begins first."""
        self.is_unwanted = True
        if self.has_begun:
            self.task.cancel()


class GenerationHub:
    """Starts answers and sees them through; stops them on request; at shutdown hands over what is left."""

    def __init__(self, *, settings: Callable[[], Settings], shared: SharedAnswers) -> None:
        self._settings = settings
        self._shared = shared
        self._shared.on_stop(lambda user_id, message_id, reason: self.stop(user_id, message_id, reason=reason))
        self._running: dict[UUID, _Running] = {}
        self._logs: dict[UUID, AnswerLog] = {}
        self._retellings: set[_Running] = set()
        self._opening: dict[UUID, asyncio.Future[None]] = {}
        self._draining: asyncio.Task[None] | None = None
        self._is_grace_over = False

    @property
    def running(self) -> int:
        """How many answers are being made."""
        return len(self._running)

    def refuse_when_draining(self) -> None:
        """Raise :class:`ServiceUnavailable` once the server is on its way down."""
        if self._draining is not None:
            raise ServiceUnavailable("The server is restarting. Try again in a moment.", headers={"Retry-After": "5"})

    def prepare(self, user_id: UUID, message_id: UUID) -> AnswerLog:
        """The log of an answer that is about to start, so that others can find it from the first moment."""
        answer = self._logs[message_id] = AnswerLog(user_id, message_id)
        self._opening[message_id] = asyncio.get_running_loop().create_future()
        return answer

    def discard(self, answer: AnswerLog) -> None:
        """Forget an answer that was refused before it started."""
        self._logs.pop(answer.message_id, None)
        self._has_opened(answer)

    def find(self, user_id: UUID, message_id: UUID) -> AnswerLog | None:
        """The log of somebody's answer that runs here or ended here a short while ago."""
        answer = self._logs.get(message_id)
        return answer if answer is not None and answer.user_id == user_id else None

    async def find_anywhere(self, user_id: UUID, message_id: UUID) -> AnswerLog | None:
        """The same, wherever it runs."""
        return self.find(user_id, message_id) or await self._shared.find(user_id, message_id)

    def start(self, answer: AnswerLog, generate: Generate) -> None:
        """Run ``generate`` in a task of its own; it writes to ``answer``."""
        running = self._running[answer.message_id] = self._begin(answer, generate, _interrupt)
        running.task.add_done_callback(lambda _: self._end(running))
        self._has_opened(answer)
        self._shared.publish(answer)
        settings = self._settings()
        if settings.on_disconnect is OnDisconnect.CANCEL:
            seconds = settings.on_disconnect_cancel_seconds
            answer.when_unread(lambda: self._watch_unread(running, seconds))
            self._watch_unread(running, max(seconds, FIRST_READER_SECONDS))  # who asked may have left meanwhile
        if self._is_grace_over:
            running.end()

    def retell(self, answer: AnswerLog, tell: Generate) -> None:
        """Run ``tell``, which writes what happened elsewhere or before: it ends when nobody reads it."""
        running = self._begin(answer, tell, AnswerLog.break_off)
        self._retellings.add(running)
        running.task.add_done_callback(lambda _: self._retellings.discard(running))
        answer.when_unread(running.end)

    def stop(self, user_id: UUID, message_id: UUID, *, reason: str = STOPPED) -> bool:
        """Have somebody's answer end now, keeping what came; false if it does not run here."""
        running = self._running.get(message_id)
        if running is None or running.answer.user_id != user_id:
            return False
        if running.stop_reason is None:
            running.stop_reason = reason
            running.end()
        return True

    async def stop_anywhere(self, user_id: UUID, message_id: UUID) -> None:
        """The same, wherever it runs; where nobody makes it, nothing happens."""
        if not self.stop(user_id, message_id):
            await self._shared.ask_to_stop(user_id, message_id, STOPPED)

    def stop_reason(self, answer: AnswerLog) -> str | None:
        """Why the running answer is to stop; ``None`` if nobody wants that, and its task ends for another reason."""
        running = self._running.get(answer.message_id)
        return running.stop_reason if running is not None else None

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing new; give running answers ``grace_seconds``, then cancel them so that they close themselves.

        Afterwards new ones are taken again.
        """
        await self.begin_draining(grace_seconds)
        self._draining, self._is_grace_over = None, False

    def begin_draining(self, grace_seconds: float) -> asyncio.Task[None]:
        """The same, without opening again; once it has begun, this is what there is to wait for."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(grace_seconds), name="drain")
        return self._draining

    async def _drain(self, grace_seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while unfinished := self._unfinished():
                    await asyncio.wait(unfinished)
        self._is_grace_over = True
        for late in (*self._running.values(), *self._retellings):
            late.end()
        while tasks := [each.task for each in (*self._running.values(), *self._retellings)]:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # what is to follow their end follows
        self._shared.let_readers_go()

    def _unfinished(self) -> list[asyncio.Future[None]]:
        """What is on its way: also answers that are about to start."""
        return [*(each.task for each in (*self._running.values(), *self._retellings)), *self._opening.values()]

    def _has_opened(self, answer: AnswerLog) -> None:
        opening = self._opening.pop(answer.message_id, None)
        if opening is not None and not opening.done():
            opening.set_result(None)

    def _begin(self, answer: AnswerLog, generate: Generate, break_off: Callable[[AnswerLog], None]) -> _Running:
        running = _Running(answer)
        work = self._see_through(running, generate, break_off)
        running.task = asyncio.create_task(work, name=f"answer {answer.message_id}")
        return running

    def _watch_unread(self, running: _Running, seconds: float) -> None:
        if running.watch is not None:
            running.watch.cancel()  # somebody had come back: the time begins anew
        work = self._stop_if_unread(running.answer, seconds)
        running.watch = asyncio.create_task(work, name=f"unread {running.answer.message_id}")

    async def _stop_if_unread(self, answer: AnswerLog, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while not answer.readers:
            if not await self._shared.has_readers_elsewhere(answer):
                self.stop(answer.user_id, answer.message_id, reason=DISCONNECTED)
                return
            await asyncio.sleep(ELSEWHERE_SECONDS)

    def _end(self, running: _Running) -> None:
        answer = running.answer
        if running.watch is not None:
            running.watch.cancel()
        self._running.pop(answer.message_id, None)
        if not answer.is_closed:
            _interrupt(answer)
        loop = asyncio.get_running_loop()
        loop.call_later(self._settings().answer_log_keep_seconds, self._logs.pop, answer.message_id, None)

    async def _see_through(self, running: _Running, generate: Generate, break_off: Callable[[AnswerLog], None]) -> None:
        answer = running.answer
        running.has_begun = True
        if running.is_unwanted:
            running.end()
        try:
            await generate(answer)
        except asyncio.CancelledError:
            if not answer.is_closed:
                break_off(answer)
            raise
        except Exception:
            # A defect of ours. The lease runs out by itself; readers must not wait for an end that never comes.
            log.exception("answer.crashed", message_id=str(answer.message_id))
            answer.refusal = AppError("Something went wrong on our side. Nothing was charged.")
        finally:
            if not (answer.is_closed or answer.is_broken_off):
                refusal = answer.refusal or AppError("The answer ended without a result. Nothing was charged.")
                answer.append(MessageFailed(message_id=answer.message_id, error=refusal.code, detail=refusal.detail))


def _interrupt(answer: AnswerLog) -> None:
    answer.append(MessageInterrupted(message_id=answer.message_id))


generation_hub = GenerationHub(settings=get_settings, shared=shared_answers)
