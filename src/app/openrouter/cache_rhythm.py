"""Learns how soon a prefix is asked for again: chances within 5, 30 and 60 minutes, by key."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

HORIZONS = (300.0, 1_800.0, 3_600.0)
"""Seconds. What comes later than the last one finds every cache empty."""
NEVER = len(HORIZONS)

Key = Hashable
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Chances = tuple[float, float, float]
"""For each horizon: the chance of a return within it, given that none came within the one before."""


def bucket_of(gap: float) -> int:
    """Which horizon a gap of so many seconds falls into; `NEVER` beyond the last."""
    return next((index for index, horizon in enumerate(HORIZONS) if gap <= horizon), NEVER)


class Tally:
    """How often something was at stake, and how often it happened, for each horizon."""

    __slots__ = ("happened", "stake")

    def __init__(self) -> None:
        self.stake = [0.0] * len(HORIZONS)
        self.happened = [0.0] * len(HORIZONS)


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """A dictionary that forgets what was not touched for longest."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def touch(self, key: K) -> V | None:
        """What stands under the key, now the youngest."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class Wait:
    """A prefix was used at `since`; `gap` is told when it is used again."""

    __slots__ = ("gap", "keys", "since")

    def __init__(self, since: float, keys: Sequence[Key]) -> None:
        self.since = since
        self.keys = keys
        self.gap: float | None = None


class Rhythm:
    """Tallies by key. An outcome counts only once its horizon has passed: early returns would count too much."""

    def __init__(self, *, most_keys: int = 20_000, most_waits: int = 50_000) -> None:
        self.tallies: Bounded[Key, Tally] = Bounded(most_keys)
        self._waits: list[deque[Wait]] = [deque(maxlen=most_waits) for _ in HORIZONS]

    def begin(self, now: float, keys: Sequence[Key]) -> Wait:
        """Wait for the next use; the caller sets `gap` on the returned wait when it comes."""
        wait = Wait(now, keys)
        self._waits[0].append(wait)
        return wait

    def settle(self, now: float) -> None:
        """Count every outcome that is certain by now."""
        for index, (waits, horizon) in enumerate(zip(self._waits, HORIZONS, strict=True)):
            while waits and waits[0].since + horizon < now:
                wait = waits.popleft()
                came = wait.gap is not None and wait.gap <= horizon
                for key in wait.keys:
                    self._count(key, index, came)
                if not came and index + 1 < len(HORIZONS):
                    self._waits[index + 1].append(wait)

    def chances(self, keys: Iterable[Key], prior: Chances, weights: Sequence[float]) -> Chances:
        """Estimates from the coarsest key to the finest: each leans on the one before as on so many sightings."""
        first, second, third = prior
        for key, weight in zip(keys, weights, strict=True):
            tally = self.tallies.get(key)
            if tally is None:
                continue
            stake, happened = tally.stake, tally.happened
            first = (happened[0] + weight * first) / (stake[0] + weight)
            second = (happened[1] + weight * second) / (stake[1] + weight)
            third = (happened[2] + weight * third) / (stake[2] + weight)
        return first, second, third

    def _count(self, key: Key, index: int, came: bool) -> None:
        tally = self.tallies.touch(key)
        if tally is None:
            tally = Tally()
            self.tallies.put(key, tally)
        tally.stake[index] += 1.0
        tally.happened[index] += came
