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


def cheapest_cut(
    rules: CacheRules, tokens: Sequence[int], values: Sequence[Costs], first: int, live: int, live_state: int
) -> Cut:
    """Split what follows the live prefix into a part written for long, one written for short, and one not written.

    `values`: expected later cost a token by state, survival included. `first`: the first block at which a prefix is
    long enough. `live`: the last block of the live prefix, `live_state` its state: beyond a prefix that lives shortly
    nothing can be made to live longer.
    """
    start = live + 1
    states = len(rules.lifetimes)
    short_state, short = 1, rules.lifetimes[0].write
    long_state, long = states, rules.lifetimes[-1].write
    may_be_long = states > 1 and (live == NOWHERE or live_state == long_state)
    # Relative to leaving everything unwritten: what each prefix of the rest saves (below zero) or costs.
    best_long, best_long_end = 0.0, live
    total_long = total_short = 0.0
    best, cut = 0.0, Cut(live, live)
    for at in range(start, len(tokens)):
        value, count = values[at], tokens[at]
        gain_short = count * (short - 1.0 + value[short_state] - value[0])
        total_short += gain_short
        total_long += count * (long - 1.0 + value[long_state] - value[0]) - gain_short
        if at < first:
            continue
        # best_long is measured against writing the same blocks for short.
        if may_be_long and total_long < best_long:
            best_long, best_long_end = total_long, at
        if total_short + best_long < best - 1e-9:
            best, cut = total_short + best_long, Cut(best_long_end, at)
    return cut
