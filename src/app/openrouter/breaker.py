"""Circuit breakers: a host that keeps failing a model is left alone for a while, then tried by one call.

Outcomes of whole streams count, not status codes: a cut or silent stream is a failure, though it began with 200.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.openrouter import errors

Outcome = Literal["answered", "failed", "neither"]
Key = tuple[str, str | None]

_FAILURES_OF_THE_HOST = (
    errors.UpstreamUnavailable,
    errors.UpstreamTimeout,
    errors.TruncatedStream,
    errors.UnreadableAnswer,
    errors.RateLimited,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a circuit opens, and for how long. Seconds."""

    failures_to_open: int = 5
    """In a row, none older than `memory`."""
    memory: float = 120.0
    open_for: float = 30.0
    """The first time; each probe that fails doubles it."""
    open_at_most: float = 300.0
    probe_for: float = 90.0
    """How long one probe keeps others out, should its outcome never come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The health of one model on one host. Times are any clock's, in seconds, as long as it is always the same."""

    failed_at: tuple[float, ...] = ()
    opened_at: float | None = None
    openings: int = 0
    probed_at: float | None = None

    def admits(self, now: float, policy: BreakerPolicy) -> bool:
        """Closed, or half-open with no probe on its way."""
        if self.opened_at is None:
            return True
        if now < self.opened_at + _open_seconds(self.openings, policy):
            return False
        return self.probed_at is None or now >= self.probed_at + policy.probe_for

    def probing(self, now: float) -> "Circuit":
        """One call goes through; others stay out until its outcome is known."""
        return replace(self, probed_at=now)

    def released(self) -> "Circuit":
        """The probe went elsewhere or was given up: another may go."""
        return replace(self, probed_at=None)

    def after_failure(self, now: float, policy: BreakerPolicy) -> "Circuit":
        if self.opened_at is not None and self.probed_at is None:
            return self  # a call from before it opened: nothing new
        failed_at = (*(time for time in self.failed_at if time > now - policy.memory), now)
        if self.probed_at is None and len(failed_at) < policy.failures_to_open:
            return replace(self, failed_at=failed_at)
        return Circuit(opened_at=now, openings=self.openings + 1)


CLOSED = Circuit()


class CircuitBreaker:
    """The circuits of this process, by model and provider. Provider None stands for failures that named no host."""

    def __init__(self, policy: BreakerPolicy | None = None) -> None:
        self._policy = policy or BreakerPolicy()
        self._circuits: dict[Key, Circuit] = {}

    def admits(self, model: str, now: float) -> bool:
        """Whether the model may be asked at all; its single hosts are told by `failing_providers`."""
        return self._circuits.get((model, None), CLOSED).admits(now, self._policy)

    def failing_providers(self, model: str, now: float) -> tuple[str, ...]:
        """Hosts to keep out of a call for this model now."""
        return tuple(
            provider
            for (known, provider), circuit in self._circuits.items()
            if known == model and provider is not None and not circuit.admits(now, self._policy)
        )

    def begin(self, model: str, now: float) -> tuple[Key, ...]:
        """A call for this model begins. Where a circuit is half-open, the call is its probe: hand these to `end`."""
        probed = [
            key
            for key, circuit in self._circuits.items()
            if key[0] == model and circuit.opened_at is not None and circuit.admits(now, self._policy)
        ]
        for key in probed:
            self._circuits[key] = self._circuits[key].probing(now)
        return tuple(probed)

    def end(
        self, model: str, provider: str | None, outcome: Outcome, now: float, *, probes: Iterable[Key] = ()
    ) -> None:
        """How a call for this model ended, and on which host. An answer also clears the model as a whole."""
        if outcome == "failed":
            circuit = self._circuits.get((model, provider), CLOSED)
            self._circuits[model, provider] = circuit.after_failure(now, self._policy)
        elif outcome == "answered":
            self._circuits.pop((model, provider), None)
            self._circuits.pop((model, None), None)
        for key in probes:
            if key in self._circuits:
                self._circuits[key] = self._circuits[key].released()

    def circuits(self) -> Mapping[Key, Circuit]:
        """All that are not plainly closed, for whoever watches."""
        return dict(self._circuits)


def outcome_of(error: errors.OpenRouterError | None) -> Outcome:
    """What an attempt says about its host. A refused request says nothing, nor does a broken line to OpenRouter."""
    if error is None or isinstance(error, errors.AnswerMisfit):
        return "answered"
    if isinstance(error, errors.ConnectionFailed) or getattr(error, "phase", None) in ("connect", "total"):
        return "neither"
    return "failed" if isinstance(error, _FAILURES_OF_THE_HOST) else "neither"


def _open_seconds(openings: int, policy: BreakerPolicy) -> float:
    return float(min(policy.open_at_most, policy.open_for * 2 ** (openings - 1)))
