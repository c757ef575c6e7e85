"""Whether a cached prompt is worth a tiny request that keeps it cached: what it costs against what it may save."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_features import head_of
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_rules import CacheRules
from app.openrouter.pricing import PriceList, estimate_cost
from app.openrouter.types import Usage

PRIOR_CHANCE, PRIOR_WEIGHT = 0.12, 20.0
"""Before anything was seen: of conversations that let a cache run out, so many come back within its next lifetime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPrompt:
    """A prompt in a cache, in tokens as the model counts them. `at_stake` is what would be written anew without it.

    The beginning that conversations share is not at stake: others keep it.
    """

    prompt_tokens: int
    cached_tokens: int
    at_stake: int
    seconds: float
    is_long: bool


def kept_prompt(
    usage: Usage, blocks: PromptBlocks, points: Sequence[Breakpoint], rules: CacheRules
) -> KeptPrompt | None:
    """What an answered prompt left in a cache that a read would renew; None where there is nothing of the kind."""
    kept = (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0)
    if rules.mechanism != "marks" or not points or not kept or not usage.prompt_tokens:
        return None
    lives = {each.ttl: each.seconds for each in rules.lifetimes}
    last = points[-1]
    seconds = lives.get(last.ttl, rules.lifetimes[0].seconds)
    outliving = [each.block + 1 for each in points if lives.get(each.ttl, 0.0) > seconds]
    shared = max([head_of(blocks), *outliving])
    tokens_shared = usage.prompt_tokens * blocks.ends[shared - 1] // max(1, blocks.ends[-1]) if shared else 0
    return KeptPrompt(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=kept,
        at_stake=max(0, kept - tokens_shared),
        seconds=seconds,
        is_long=last.ttl != rules.lifetimes[0].ttl,
    )


def keeping_cost(kept: KeptPrompt, prices: PriceList) -> Decimal | None:
    """USD for reading the prompt once more and writing one token; None where prices are not known."""
    usage = Usage(prompt_tokens=kept.prompt_tokens, completion_tokens=1, cached_tokens=kept.cached_tokens)
    return estimate_cost(prices, usage)


def keeping_gain(kept: KeptPrompt, prices: PriceList, chance: float) -> Decimal | None:
    """Expected USD: what a turn saves that comes, by this chance, while the entry lives on, less what renewing costs.

    Negative where it is not worth it; None where prices are not known.
    """
    cost = keeping_cost(kept, prices)
    written = Usage(prompt_tokens=kept.prompt_tokens, completion_tokens=0, cache_write_tokens=kept.at_stake)
    read = Usage(prompt_tokens=kept.prompt_tokens, completion_tokens=0, cached_tokens=kept.at_stake)
    dear = estimate_cost(prices, written, long_written=kept.at_stake if kept.is_long else 0)
    cheap = estimate_cost(prices, read)
    if cost is None or dear is None or cheap is None:
        return None
    return Decimal(chance) * (dear - cheap) - cost


class ReturnOdds:
    """How often conversations came back within one more lifetime, by how many lifetimes they had been silent."""

    def __init__(self, stages: int) -> None:
        self._seen = [[0, 0] for _ in range(stages)]

    def chance(self, stage: int) -> float:
        """From what was seen so far, beginning with a cautious guess."""
        came, times = self._seen[stage]
        return (came + PRIOR_CHANCE * PRIOR_WEIGHT) / (times + PRIOR_WEIGHT)

    def count(self, stage: int, came: bool) -> None:
        """One more conversation that did, or did not."""
        self._seen[stage][0] += came
        self._seen[stage][1] += 1
