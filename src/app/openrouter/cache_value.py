"""What a token of a prompt is expected to cost later, by how it is left behind now: uncached, or cached for how long.

Costs are multiples of the price of a plain input token. A state is an index: 0 uncached, then the model's lifetimes,
shortest first. Only differences between states mean anything: uses that find every cache empty are left out.
"""

from collections.abc import Sequence

from app.openrouter.cache_rhythm import HORIZONS, Chances
from app.openrouter.cache_rules import CacheRules

Costs = tuple[float, ...]
"""One a state."""


def covers(rules: CacheRules) -> list[list[bool]]:
    """By state and horizon: whether what is in that state still lives when a gap falls into that horizon."""
    lives = [0.0, *(each.seconds for each in rules.lifetimes)]
    return [[lasting >= horizon for horizon in HORIZONS] for lasting in lives]


def spread(chances: Chances) -> tuple[float, float, float]:
    """The chance of a return in each horizon by itself."""
    first, second, third = chances
    late = 1.0 - first
    return first, late * second, late * (1.0 - second) * third


def written_or_not(rules: CacheRules, later: Costs) -> float:
    """The cheapest way to send a token that no cache holds, with what follows from it."""
    best = 1.0 + later[0]
    for state, lifetime in enumerate(rules.lifetimes, start=1):
        best = min(best, lifetime.write + later[state])
    return best


def step(
    rules: CacheRules, lives: Sequence[Sequence[bool]], weights: Sequence[float], later: Sequence[Costs], hold: float
) -> Costs:
    """Expected cost of the next use and all after it, for every state; `later` is the value after it, by horizon.

    `hold`: the chance that an entry which should live is really found.
    """
    misses = [written_or_not(rules, value) for value in later]
    out = []
    for state, alive in enumerate(lives):
        total = 0.0
        for weight, value, miss, lasts in zip(weights, later, misses, alive, strict=True):
            if lasts:
                total += weight * (hold * (rules.read + value[state]) + (1.0 - hold) * miss)
            else:
                total += weight * miss
        out.append(total)
    return tuple(out)


def growth_step(
    rules: CacheRules,
    lives: Sequence[Sequence[bool]],
    weights: Sequence[float],
    later: Sequence[Costs],
    growth: Sequence[Sequence[float]],
) -> tuple[float, float, float]:
    """Expected cost of all tokens that will yet be added, one a request: behind nothing, a short life, a long life.

    Behind a prefix that lives shortly nothing can be written for long until it has lapsed; behind nothing what is added
    is written as all before it is.
    """
    nothing_total = short_total = long_total = 0.0
    brief, lasting = rules.lifetimes[0].write, rules.lifetimes[-1].write
    for weight, value, after, lasts in zip(weights, later, growth, lives[1], strict=True):
        plain, short, long = 1.0 + value[0], brief + value[1], lasting + value[-1]
        anew = min(plain + after[0], short + after[1], long + after[2])
        nothing_total += weight * anew
        short_total += weight * (min(plain, short) + after[1] if lasts else anew)
        long_total += weight * min(plain + after[2], short + after[1], long + after[2])
    return nothing_total, short_total, long_total


def steady(
    rules: CacheRules, lives: Sequence[Sequence[bool]], chances: Chances, hold: float, *, rounds: int = 12
) -> Costs:
    """The value of a token whose every next use comes with the same chances."""
    weights = spread(chances)
    value: Costs = (0.0,) * len(lives)
    for _ in range(rounds):
        value = step(rules, lives, weights, (value,) * len(HORIZONS), hold)
    return value
