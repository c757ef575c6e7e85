"""The clocks of a call: when to stop waiting, and for what."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.openrouter.errors import TimeoutPhase, UpstreamTimeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds, counted from sending the request unless said otherwise."""

    connect: float = 10.0
    """To an open connection."""
    first_token: float = 90.0
    """To the first text, reasoning, picture or tool call of a stream."""
    silence: float = 60.0
    """Between two pieces of content of a stream. Comments, usage and empty deltas are not content."""
    total: float = 600.0
    """To the end of the answer."""
    after_finish: float = 10.0
    """From the finish reason to the end of the stream; then the answer counts as whole, without its usage."""
    lookup: float = 30.0
    """For the small questions: models, key, credits, one generation's record."""


class StreamClock:
    """The nearest deadline of one running stream. Times are the event loop's, in seconds."""

    def __init__(self, timeouts: Timeouts, started: float) -> None:
        self._timeouts = timeouts
        self._end = started + timeouts.total
        self._next = started + timeouts.first_token
        self._phase: TimeoutPhase = "first_token"
        self._finished = False
        self.started = started
        self.first_content: float | None = None

    @property
    def deadline(self) -> float:
        return min(self._next, self._end)

    @property
    def phase(self) -> TimeoutPhase:
        """Which clock runs out at the deadline."""
        return self._phase if self._next < self._end else "total"

    def content_came(self, now: float) -> None:
        if self.first_content is None:
            self.first_content = now
        if not self._finished:
            self._phase = "stalled"
            self._next = now + self._timeouts.silence

    def finish_reason_came(self, now: float) -> None:
        if not self._finished:
            self._finished = True
            self._next = now + self._timeouts.after_finish

    def ran_out(self) -> UpstreamTimeout:
        return UpstreamTimeout(_MESSAGES[self.phase], phase=self.phase)


_MESSAGES: Mapping[TimeoutPhase, str] = {
    "first_token": "The model did not begin to answer in time.",
    "stalled": "The model stopped in the middle of its answer.",
    "total": "The answer took longer than allowed.",
}
