"""Learns how soon something is asked for again: chances within 5, 30 and 60 minutes, from whatever is known of it.

A chance is the logistic function of a sum of effects, one for each feature (the stage of the conversation, its route,
its person). An effect is known by mean and variance, and every outcome moves the uncertain ones most: a Kalman filter
with a diagonal covariance. New features begin with a prior, so the first request is planned already.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

HORIZONS = (300.0, 1_800.0, 3_600.0)
"""Seconds. What comes later than the last one finds every cache empty."""
NEVER = len(HORIZONS)
LEAST_VARIANCE = 2e-3
"""An effect never becomes surer than this: habits change."""

Key = Hashable
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Chances = tuple[float, float, float]
"""For each horizon: the chance of a return within it, given that none came within the one before."""


def bucket_of(gap: float) -> int:
    """Which horizon a gap of so many seconds falls into; `NEVER` beyond the last."""
    for index, horizon in enumerate(HORIZONS):
        if gap <= horizon:
            return index
    return NEVER


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


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that is known of what was used; `means` are its effects in log-odds before any sighting."""

    key: Key
    variance: float
    means: Chances = (0.0, 0.0, 0.0)


class Wait:
    """Something was used at `since`; `gap` is told when it is used again."""

    __slots__ = ("features", "gap", "since")

    def __init__(self, since: float, features: Sequence[Feature]) -> None:
        self.since = since
        self.features = features
        self.gap: float | None = None


class Rhythm:
    """Effects by feature. An outcome counts only once its horizon has passed: early returns would count too much."""

    def __init__(self, *, most_features: int = 20_000, most_waits: int = 50_000) -> None:
        self.effects: Bounded[Key, list[list[float]]] = Bounded(most_features)
        """By feature: the means, then the variances, for each horizon."""
        self._waits: list[deque[Wait]] = [deque(maxlen=most_waits) for _ in HORIZONS]

    def begin(self, now: float, features: Sequence[Feature]) -> Wait:
        """Wait for the next use; the caller sets `gap` on the returned wait when it comes."""
        wait = Wait(now, features)
        self._waits[0].append(wait)
        return wait

    def settle(self, now: float) -> None:
        """Count every outcome that is certain by now."""
        for index, (waits, horizon) in enumerate(zip(self._waits, HORIZONS, strict=True)):
            while waits and waits[0].since + horizon < now:
                wait = waits.popleft()
                came = wait.gap is not None and wait.gap <= horizon
                self._count(wait.features, index, came)
                if not came and index + 1 < len(HORIZONS):
                    self._waits[index + 1].append(wait)

    def chances(self, features: Sequence[Feature]) -> Chances:
        """Estimates for something with these features."""
        first = second = third = 0.0
        for feature in features:
            effect = self.effects.get(feature.key)
            means = feature.means if effect is None else effect[0]
            first += means[0]
            second += means[1]
            third += means[2]
        return logistic(first), logistic(second), logistic(third)

    def mean(self, key: Key) -> Sequence[float] | None:
        """What was learned of one feature, in log-odds; None for a feature not seen yet."""
        effect = self.effects.get(key)
        return None if effect is None else effect[0]

    def _count(self, features: Sequence[Feature], index: int, came: bool) -> None:
        effects = [self._effect(feature) for feature in features]
        chance = logistic(sum(effect[0][index] for effect in effects))
        weight = chance * (1.0 - chance)
        doubt = 1.0 + weight * sum(effect[1][index] for effect in effects)
        for means, variances in effects:
            variance = variances[index]
            means[index] += variance * (came - chance) / doubt
            variances[index] = max(LEAST_VARIANCE, variance - variance * variance * weight / doubt)

    def _effect(self, feature: Feature) -> list[list[float]]:
        effect = self.effects.touch(feature.key)
        if effect is None:
            effect = [list(feature.means), [feature.variance] * len(HORIZONS)]
            self.effects.put(feature.key, effect)
        return effect


def logistic(odds: float) -> float:
    """The chance whose log-odds these are."""
    return 1.0 / (1.0 + math.exp(-odds)) if odds > -30.0 else 0.0


def log_odds(chance: float) -> float:
    return math.log(chance / (1.0 - chance))
