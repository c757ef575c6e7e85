"""What each block of a prompt is worth in the cache, by what is remembered."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_features import (
    LAST_STAGE,
    Context,
    Route,
    head_of,
    prefix_features,
    return_features,
    slot_of,
    survival_key,
)
from app.openrouter.cache_memory import Ask, CacheMemory
from app.openrouter.cache_placement import Ahead
from app.openrouter.cache_rhythm import HORIZONS, Bounded
from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_value import Costs, covers, growth_step, spread, steady, step

SHORT_HEAD_PENALTY = 1.0
"""A head that lives shortly keeps what follows it from living long."""
SHARED_DOCUMENTS_PRIOR = 0.1
SEARCH_STAYS_PRIOR = 0.5
"""Whether the next question searches the web as well: people ask for it question by question."""
MOST_USES = 40
"""How often an outlook serves before it is worked out anew; at first less often, as more is learned then."""

Outlook = dict[tuple[int, bool], tuple[Sequence[Costs], Sequence[Sequence[float]]]]
"""By stage and whether a tool's answer came last, for a next request in each horizon: the value of a token after it,
and the cost of all that will be added later, behind nothing, a prefix that lives shortly, or one that lives long."""


@dataclass(slots=True)
class Kept:
    """An outlook in use."""

    table: Outlook
    left: int
    served: int


class Worth:
    """Expected later costs of blocks. Tables by kind of conversation are kept for a while."""

    def __init__(self, memory: CacheMemory) -> None:
        self._memory = memory
        self._outlooks: Bounded[object, Kept] = Bounded(256)

    def of_blocks(self, ask: Ask, first: int, live: int) -> tuple[list[Costs], Ahead]:
        """By block, and what text that comes later will cost.

        `first` is the first block at which a prefix is long enough to be cached. What stands up to `live` is in the
        cache already, and its worth is not asked.
        """
        memory, blocks = self._memory, ask.blocks
        turn, ahead = self._turn(ask)
        known = memory.conversations.get(ask.conversation) if ask.conversation is not None else None
        old = known.prefixes if known is not None else _said_before(blocks)
        head = head_of(blocks)
        values: list[Costs] = [turn] * len(blocks)
        survives, value = 1.0, turn
        for at in range(live + 1, len(blocks)):
            if at < head and (shared := self._shared(ask, max(at, first), head)):
                values[at] = shared
                continue
            if blocks.prefixes[at] not in old:
                kind = blocks.kinds[at]
                prior = SEARCH_STAYS_PRIOR if kind == "search" else None
                survives *= 0.0 if kind == "volatile" else memory.survival.chance(survival_key(blocks, at), prior=prior)
                value = tuple([survives * cost for cost in turn])
            values[at] = value
        if first >= head:  # nothing shorter can be cached: the head shares the fate of what makes it long enough
            values[:first] = [values[first]] * first
        return values, ahead

    def _shared(self, ask: Ask, at: int, head: int) -> Costs | None:
        """The value of a block that several conversations share; None where none but this one uses it."""
        if at >= head:
            return None
        memory, blocks, rules = self._memory, ask.blocks, ask.rules
        slot, prefix = slot_of(blocks, at), blocks.prefixes[at]
        state = memory.prefixes.get((ask.model, prefix))
        if state is None or (not state.is_shared and state.owner == ask.conversation and blocks.kinds[at] != "rag"):
            prior = SHARED_DOCUMENTS_PRIOR if blocks.kinds[at] == "rag" else None
            is_shared = memory.sharing.chance(slot, prior=prior) > 0.5
        else:
            is_shared = state.is_shared
        if not is_shared:
            return None
        chances = memory.rhythm.chances(prefix_features(ask.model, prefix, slot))
        value = steady(rules, covers(rules), chances, memory.holding.chance("head"))
        return value if len(value) < 3 else (value[0], value[1] + SHORT_HEAD_PENALTY, *value[2:])

    def _turn(self, ask: Ask) -> tuple[Costs, Ahead]:
        """The value of a token that only this conversation uses, and what later text will cost."""
        memory, rules = self._memory, ask.rules
        context = memory.context(ask.blocks, ask.conversation, ask.user, ask.now)
        later, after = self._outlook(rules, context.route)[context.stage, context.is_loop]
        lives, weights = covers(rules), spread(memory.rhythm.chances(return_features(context)))
        value = step(rules, lives, weights, later, memory.holding.chance("turn"))
        if len(lives) < 3:
            return value, Ahead()
        growth = memory.growth.mean(context.route)
        nothing, short, long = growth_step(rules, lives, weights, later, after)
        is_own = ask.live is not None and ask.live.block >= head_of(ask.blocks)
        return value, Ahead(growth * (long if is_own else nothing), growth * short, growth * long)

    def _outlook(self, rules: CacheRules, route: Route) -> Outlook:
        key = (rules.lifetimes, rules.read, route)
        known = self._outlooks.touch(key)
        if known is None or known.left <= 0:
            served = known.served if known else 0
            table = self._work_out(rules, route, known.table if known else {})
            known = Kept(table, min(MOST_USES, 4 + served // 4), served)
            self._outlooks.put(key, known)
        known.left -= 1
        known.served += 1
        return known.table

    def _work_out(self, rules: CacheRules, route: Route, warm: Outlook) -> Outlook:
        """Backwards from the last stage, which follows itself, to the first."""
        memory, lives = self._memory, covers(rules)
        hold = memory.holding.chance("turn")
        outlook: Outlook = {}
        for stage in range(LAST_STAGE, -1, -1):
            nothing = ([(0.0,) * len(lives)] * len(HORIZONS), [(0.0, 0.0, 0.0)] * len(HORIZONS))
            for is_loop in (False, True):
                outlook[stage, is_loop] = warm.get((stage, is_loop), nothing)
            rounds = (8 if warm else 25) if stage == LAST_STAGE else (2 if warm else 6)
            weights = {
                (at, is_loop, bucket): spread(
                    memory.rhythm.chances(return_features(Context(route, at, is_loop, bucket)))
                )
                for at in {stage, min(stage + 1, LAST_STAGE)}
                for is_loop in {False, route[0]}
                for bucket in range(len(HORIZONS))
            }
            for _ in range(rounds):
                for is_loop in (False, True):
                    stay = memory.staying.chance((route, is_loop))
                    # With tools, what follows in the same turn is a tool's answer.
                    same, following = (stage, route[0]), (min(stage + 1, LAST_STAGE), False)
                    later, after = [], []
                    for bucket in range(len(HORIZONS)):
                        one = step(rules, lives, weights[(*same, bucket)], outlook[same][0], hold)
                        two = step(rules, lives, weights[(*following, bucket)], outlook[following][0], hold)
                        later.append(_mix(stay, one, two))
                        if len(lives) > 2:
                            grown = growth_step(rules, lives, weights[(*same, bucket)], *outlook[same])
                            grows = growth_step(rules, lives, weights[(*following, bucket)], *outlook[following])
                            after.append(_mix(stay, grown, grows))
                    outlook[stage, is_loop] = (later, after)
        return outlook


def _mix(share: float, one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple([share * first + (1.0 - share) * second for first, second in zip(one, other, strict=True)])


def _said_before(blocks: PromptBlocks) -> frozenset[int]:
    """What has shown already that it stays, in a conversation nobody here remembers: all but the newest turn."""
    newest = blocks.places[-1][0]
    return frozenset(
        [prefix for prefix, place in zip(blocks.prefixes, blocks.places, strict=True) if place[0] < newest - 1]
    )
