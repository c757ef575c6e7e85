"""Running answers: each is a task of the process, not of a request, and writes events to a log that readers follow."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from app.core.config import OnDisconnect, Settings, get_settings
from app.core.errors import AppError, ServiceUnavailable
from app.services.answer_log import AnswerLog
from app.services.chat_events import MessageFailed, MessageInterrupted
from app.services.shared_answers import SharedAnswers, shared_answers

log = structlog.get_logger(__name__)

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
        self._is_draining = False

    @property
    def running(self) -> int:
        """How many answers are being made."""
        return len(self._running)

    def refuse_when_draining(self) -> None:
        """Raise :class:`ServiceUnavailable` once the server is on its way down."""
        if self._is_draining:
            raise ServiceUnavailable("The server is restarting. Try again in a moment.", headers={"Retry-After": "5"})

    def prepare(self, user_id: UUID, message_id: UUID) -> AnswerLog:
        """The log of an answer that is about to start, so that others can find it from the first moment."""
        answer = self._logs[message_id] = AnswerLog(user_id, message_id)
        return answer

    def discard(self, answer: AnswerLog) -> None:
        """Forget an answer that was refused before it started."""
        self._logs.pop(answer.message_id, None)

    def find(self, user_id: UUID, message_id: UUID) -> AnswerLog | None:
        """The log of somebody's answer that runs here or ended here a short while ago."""
        answer = self._logs.get(message_id)
        return answer if answer is not None and answer.user_id == user_id else None

    async def find_anywhere(self, user_id: UUID, message_id: UUID) -> AnswerLog | None:
        """The same, wherever it runs."""
        return self.find(user_id, message_id) or await self._shared.find(user_id, message_id)

    def start(self, answer: AnswerLog, generate: Generate) -> None:
        """Run ``generate`` in a task of its own; it writes to ``answer``."""
        running = self._running[answer.message_id] = self._begin(answer, generate)
        running.task.add_done_callback(lambda _: self._end(answer))
        self._shared.publish(answer)
        if self._settings().on_disconnect is OnDisconnect.CANCEL:
            answer.when_unread(lambda: self._watch_unread(answer))

    def retell(self, answer: AnswerLog, tell: Generate) -> None:
        """Run ``tell``, which writes what happened elsewhere or before: it ends when nobody reads it."""
        running = self._begin(answer, tell)
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
        """Take nothing new; give running answers ``grace_seconds``, then cancel them so that they close themselves."""
        self._is_draining = True
        running = [*self._running.values(), *self._retellings]
        tasks = [each.task for each in running]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
            for late in running:
                if not late.task.done():
                    late.end()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._is_draining = False

    def _begin(self, answer: AnswerLog, generate: Generate) -> _Running:
        running = _Running(answer)
        running.task = asyncio.create_task(self._see_through(running, generate), name=f"answer {answer.message_id}")
        return running

    def _watch_unread(self, answer: AnswerLog) -> None:
        watch = asyncio.create_task(self._stop_if_unread(answer), name=f"unread {answer.message_id}")
        answer.when_closed(watch.cancel)

    async def _stop_if_unread(self, answer: AnswerLog) -> None:
        while not answer.readers:
            await asyncio.sleep(self._settings().on_disconnect_cancel_seconds)
            if not answer.readers and not await self._shared.has_readers_elsewhere(answer):
                self.stop(answer.user_id, answer.message_id, reason=DISCONNECTED)
                return

    def _end(self, answer: AnswerLog) -> None:
        self._running.pop(answer.message_id, None)
        if not answer.is_closed:
            answer.append(MessageInterrupted(message_id=answer.message_id))
        loop = asyncio.get_running_loop()
        loop.call_later(self._settings().answer_log_keep_seconds, self._logs.pop, answer.message_id, None)

    async def _see_through(self, running: _Running, generate: Generate) -> None:
        answer = running.answer
        running.has_begun = True
        if running.is_unwanted:
            running.end()
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


generation_hub = GenerationHub(settings=get_settings, shared=shared_answers)
