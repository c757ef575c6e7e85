"""How long what an earlier call left in a cache can be read, and which host has it when OpenRouter has forgotten."""

from collections.abc import Sequence
from fractions import Fraction

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_prints import CachedCall, Common, PrintedMark, PromptPrint, common_part
from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_shadow import Live

STICKY_SECONDS = 600.0 - 60.0
"""OpenRouter keeps a conversation with its host for ten idle minutes. Asking a minute early does no harm."""


def life_of_common(
    common: Common, printed: PromptPrint, blocks: PromptBlocks, rules: CacheRules, *, scale: Fraction = Fraction(1)
) -> float | None:
    """How many seconds what two prompts share is kept; None where nothing that was kept lies within it.

    `scale`: tokens as the model counts them for one of our estimate.
    """
    if rules.takes_marks or printed.marks:
        return max((_seconds(mark, rules) for mark in printed.marks if mark.block < common.blocks), default=None)
    shared = blocks.ends[common.blocks - 1] if common.blocks else 0
    return rules.idle_seconds if int(shared * scale) >= rules.min_tokens else None


def warm_host(
    earlier: Sequence[CachedCall], model: str, blocks: PromptBlocks, rules: CacheRules, *, now: float
) -> str | None:
    """The host to ask for by name: it has the prompt's beginning cached, and OpenRouter would not keep to it by itself,
    because too much time went by or because it was asked for by name before. None where nothing needs to be said.

    `earlier` are calls of the conversation, newest first; `model` and `rules` those of the next one.
    """
    before = next((each for each in earlier if each.model == model), None)
    if before is None or before.provider is None:
        return None
    age = now - before.began_at
    if age < STICKY_SECONDS and not before.was_ordered:
        return None
    life = life_of_common(common_part(before.printed, blocks), before.printed, blocks, rules)
    return before.provider if life is not None and age < life else None


def live_by_print(
    earlier: Sequence[CachedCall], model: str, blocks: PromptBlocks, rules: CacheRules, *, now: float
) -> Live | None:
    """The deepest prefix that the conversation's last call with this model marked and that should still be there."""
    before = next((each for each in earlier if each.model == model), None)
    if before is None or before.tokens == 0:
        return None
    age, common = now - before.began_at, common_part(before.printed, blocks)
    for mark in reversed(before.printed.marks):
        if mark.block < common.blocks and age <= _seconds(mark, rules):
            return Live(mark.block, _seconds(mark, rules))
    return None


def _seconds(mark: PrintedMark, rules: CacheRules) -> float:
    usual = rules.lifetimes[0].seconds if rules.lifetimes else rules.idle_seconds
    return next((each.seconds for each in rules.lifetimes if each.ttl == mark.ttl), usual)
