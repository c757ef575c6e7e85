"""Where a prompt's breakpoints go, given what each block is worth in each state."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_value import Costs

NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Cut:
    """The blocks at which the written parts end; `NOWHERE` for none. `long_end` is never beyond `end`."""

    long_end: int
    end: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """What later text will cost if nothing is written now, if the end is written for short, or for long."""

    unwritten: float = 0.0
    short: float = 0.0
    long: float = 0.0


def cheapest_cut(
    rules: CacheRules,
    tokens: Sequence[int],
    values: Sequence[Costs],
    first: int,
    live: int,
    live_state: int,
    ahead: Ahead = Ahead(),
) -> Cut:
    """Split what follows the live prefix into a part written for long, one written for short, and one not written.

    `values`: expected later cost a token by state, survival included. `first`: the first block at which a prefix is
    long enough. `live`: the last block of the live prefix, `live_state` its state: beyond a prefix that lives shortly
    nothing can be made to live longer, and `ahead` does not matter.
    """
    states = len(rules.lifetimes)
    short_state, short = 1, rules.lifetimes[0].write
    long_state, long = states, rules.lifetimes[-1].write
    may_be_long = states > 1 and (live == NOWHERE or live_state == long_state)
    short_ahead, long_ahead = (ahead.short, ahead.long) if may_be_long else (0.0, 0.0)
    # Relative to leaving all unwritten: what writing for short saves (below zero), and what for long adds to that.
    total_short = total_long = 0.0
    best_long, best_long_end = 0.0, live
    best, cut = (ahead.unwritten if may_be_long else 0.0), Cut(live, live)
    for at in range(live + 1, len(tokens)):
        value, count = values[at], tokens[at]
        gain = count * (short - 1.0 + value[short_state] - value[0])
        total_short += gain
        total_long += count * (long - 1.0 + value[long_state] - value[0]) - gain
        if at < first:
            continue
        if total_short + best_long + short_ahead < best - 1e-9:
            best, cut = total_short + best_long + short_ahead, Cut(best_long_end, at)
        if may_be_long and total_short + total_long + long_ahead < best - 1e-9:
            best, cut = total_short + total_long + long_ahead, Cut(at, at)
        if may_be_long and total_long < best_long:
            best_long, best_long_end = total_long, at
    return cut
