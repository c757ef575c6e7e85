"""What each block of a prompt is worth in the cache, by what is remembered."""

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_memory import (
    LAST_STAGE,
    NOT_SEEN,
    CacheMemory,
    Context,
    Route,
    head_of,
    return_keys,
    slot_of,
    survival_keys,
)
from app.openrouter.cache_rhythm import HORIZONS, Bounded, Chances
from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_value import Costs, covers, spread, steady, step

RETURN_PRIOR: Chances = (0.40, 0.15, 0.05)
RETURN_WEIGHTS = (30.0, 15.0, 10.0, 10.0)
PREFIX_PRIOR: Chances = (0.60, 0.45, 0.25)
PREFIX_WEIGHTS = (8.0, 4.0)
SHORT_HEAD_PENALTY = 0.5
"""A head that lives shortly keeps what follows it from living long."""
SHARED_DOCUMENTS_PRIOR = 0.1
TABLE_USES = 40
"""How often a table of values serves before it is worked out anew."""

BUCKETS = (NOT_SEEN, *range(len(HORIZONS) + 1))
Table = dict[tuple[int, bool, int], Costs]


class Worth:
    """Expected later costs of blocks. Tables by kind of conversation are kept for a while."""

    def __init__(self, memory: CacheMemory) -> None:
        self._memory = memory
        self._tables: Bounded[object, tuple[list[int], Table]] = Bounded(256)

    def of_blocks(
        self, blocks: PromptBlocks, model: str, rules: CacheRules, conversation: str | None, now: float, first: int
    ) -> list[Costs]:
        """By block; `first` is the first block at which a prefix is long enough to be cached."""
        memory = self._memory
        turn = self._turn(rules, memory.context(blocks, conversation, now))
        known = memory.conversations.get(conversation) if conversation is not None else None
        old = known.prefixes if known is not None else frozenset()
        head = head_of(blocks)
        values: list[Costs] = []
        survives = 1.0
        for at, (key, prefix) in enumerate(zip(survival_keys(blocks), blocks.prefixes, strict=True)):
            if at < head and (shared := self._shared(blocks, model, rules, conversation, max(at, first), head)):
                values.append(shared)
                continue
            if prefix not in old:
                survives *= memory.survival.chance(key)
            values.append(tuple(survives * cost for cost in turn))
        if not head > first:  # nothing shorter can be cached: the head shares the fate of what makes it long enough
            values[:first] = [values[first]] * first
        return values

    def _shared(
        self, blocks: PromptBlocks, model: str, rules: CacheRules, conversation: str | None, at: int, head: int
    ) -> Costs | None:
        """The value of a block that several conversations share; None where none but this one uses it."""
        if at >= head:
            return None
        memory, slot, prefix = self._memory, slot_of(blocks, at), blocks.prefixes[at]
        state = memory.prefixes.get((model, prefix))
        if state is None or (not state.is_shared and state.owner == conversation and blocks.kinds[at] != "rag"):
            prior = SHARED_DOCUMENTS_PRIOR if blocks.kinds[at] == "rag" else None
            is_shared = memory.sharing.chance(slot, prior=prior) > 0.5
        else:
            is_shared = state.is_shared
        if not is_shared:
            return None
        keys = (("slot", *slot), ("prefix", model, prefix))
        chances = memory.rhythm.chances(keys, PREFIX_PRIOR, PREFIX_WEIGHTS)
        value = steady(rules, covers(rules), chances, memory.holding.chance("head"))
        return value if len(value) < 3 else (value[0], value[1] + SHORT_HEAD_PENALTY, *value[2:])

    def _turn(self, rules: CacheRules, context: Context) -> Costs:
        route, stage, is_loop, bucket = context
        key = (rules.lifetimes, rules.read, route)
        known = self._tables.touch(key)
        if known is None or known[0][0] <= 0:
            known = ([TABLE_USES], self._table(rules, route, known[1] if known else {}))
            self._tables.put(key, known)
        known[0][0] -= 1
        return known[1][stage, is_loop, bucket]

    def _table(self, rules: CacheRules, route: Route, warm: Table) -> Table:
        """The value of a token of a conversation at every stage, backwards from the last one, which repeats itself."""
        memory, lives = self._memory, covers(rules)
        nothing: Costs = (0.0,) * len(lives)
        hold = memory.holding.chance("turn")
        stays = {is_loop: memory.staying.chance((route, is_loop)) for is_loop in (False, True)}
        table: Table = {}
        for stage in range(LAST_STAGE, -1, -1):
            weights = {
                (is_loop, bucket): spread(
                    memory.rhythm.chances(return_keys((route, stage, is_loop, bucket)), RETURN_PRIOR, RETURN_WEIGHTS)
                )
                for is_loop in (False, True)
                for bucket in BUCKETS
            }
            here = {key: warm.get((stage, *key), nothing) for key in weights}
            for _ in range((8 if warm else 25) if stage == LAST_STAGE else (2 if warm else 6)):
                changed = {}
                for is_loop in (False, True):
                    stay = stays[is_loop]
                    later = []
                    for bucket in range(len(HORIZONS)):
                        same = here[True, bucket]
                        following = here[False, bucket] if stage == LAST_STAGE else table[stage + 1, False, bucket]
                        later.append(
                            tuple(stay * one + (1.0 - stay) * two for one, two in zip(same, following, strict=True))
                        )
                    for bucket in BUCKETS:
                        changed[is_loop, bucket] = step(rules, lives, weights[is_loop, bucket], later, hold)
                here = changed
            for (is_loop, bucket), value in here.items():
                table[stage, is_loop, bucket] = value
        return table
