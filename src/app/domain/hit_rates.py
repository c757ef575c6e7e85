"""Notices when caching gets worse: a short memory of the hit rate against a long one, in a handful of numbers."""

from dataclasses import dataclass

SHORT_CALLS = 20.0
LONG_CALLS = 300.0
"""How many calls the two memories reach back, roughly: what came before counts less and less."""
WARM_UP_CALLS = 50
"""Before so many calls nobody knows what is usual."""
LEAST_RATE = 0.2
"""A rate that was never higher has nothing to lose."""
DROPPED, RECOVERED = 0.6, 0.8
"""Parts of the usual rate: below the first it has dropped, above the second it may drop again."""


@dataclass(frozen=True, slots=True)
class Drop:
    """From the usual rate to the latest one: parts of the prompt tokens that came from a cache."""

    before: float
    after: float


class _Mean:
    """A mean of ratios by tokens in which older calls fade."""

    __slots__ = ("_keep", "_prompt", "_read")

    def __init__(self, calls: float) -> None:
        self._keep = 1.0 - 1.0 / calls
        self._read = self._prompt = 0.0

    def add(self, read: int, prompt: int) -> None:
        self._read = self._read * self._keep + read
        self._prompt = self._prompt * self._keep + prompt

    @property
    def rate(self) -> float:
        return self._read / self._prompt if self._prompt else 0.0


class HitRate:
    """The hit rate of one model or preset."""

    __slots__ = ("_calls", "_has_dropped", "_long", "_short")

    def __init__(self) -> None:
        self._short, self._long = _Mean(SHORT_CALLS), _Mean(LONG_CALLS)
        self._calls = 0
        self._has_dropped = False

    @property
    def rate(self) -> float:
        """The latest rate."""
        return self._short.rate

    def observe(self, *, read: int, prompt: int) -> Drop | None:
        """Count a call that could have read from a cache. A drop is told once, until the rate has recovered."""
        self._calls += 1
        self._short.add(read, prompt)
        usual, latest = self._long.rate, self._short.rate
        self._long.add(read, prompt)
        if self._has_dropped:
            self._has_dropped = latest < RECOVERED * usual
            return None
        self._has_dropped = self._calls > WARM_UP_CALLS and usual >= LEAST_RATE and latest < DROPPED * usual
        return Drop(usual, latest) if self._has_dropped else None
