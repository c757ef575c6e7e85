"""A prompt is kept in a cache exactly where that is expected to be cheaper than writing it again."""

from decimal import Decimal

import pytest

from app.openrouter.cache_blocks import BlockReader
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_rules import cache_rules
from app.openrouter.catalog import shipped_catalog
from app.openrouter.keep_alive import (
    PRIOR_CHANCE,
    KeptPrompt,
    ReturnOdds,
    keeping_cost,
    keeping_gain,
    kept_prompt,
)
from app.openrouter.types import Usage

MODEL = "anthropic/claude-sonnet-4.6"
PRICES = shipped_catalog().require(MODEL).prices
"""USD 3 a million read plainly, 0.3 from the cache, 3.75 to write for five minutes, 6 for an hour; 15 written."""
MICRO = Decimal("0.000001")
BLOCKS = BlockReader().read(
    [{"role": "system", "content": "s " * 3_000}, {"role": "user", "content": "u " * 3_000}],
    tokens=[[4_000], [6_000]],
)
USAGE = Usage(prompt_tokens=10_000, completion_tokens=50, cached_tokens=4_000, cache_write_tokens=6_000)


def kept(*, at_stake: int = 6_000, is_long: bool = False) -> KeptPrompt:
    return KeptPrompt(prompt_tokens=10_000, cached_tokens=10_000, at_stake=at_stake, seconds=300, is_long=is_long)


def test_it_costs_a_reading_and_one_token() -> None:
    assert keeping_cost(kept(), PRICES) == (10_000 * Decimal("0.3") + 15) * MICRO


@pytest.mark.parametrize(("is_long", "saved"), [(False, "3.45"), (True, "5.7")])
def test_it_gains_what_writing_costs_beyond_reading(is_long: bool, saved: str) -> None:
    cost = keeping_cost(kept(), PRICES)
    assert cost is not None
    assert keeping_gain(kept(is_long=is_long), PRICES, 0.5) == 6_000 * Decimal(saved) * MICRO / 2 - cost


def test_a_chance_too_small_or_too_little_at_stake_is_not_worth_it() -> None:
    worth = [keeping_gain(kept(at_stake=tokens), PRICES, chance) for tokens, chance in ((6_000, 0.2), (6_000, 0.1))]
    assert worth[0] is not None
    assert worth[1] is not None
    assert worth[1] < 0 < worth[0]
    little = keeping_gain(kept(at_stake=500), PRICES, 1.0)
    assert little is not None
    assert little < 0


def test_what_conversations_share_is_not_at_stake() -> None:
    found = kept_prompt(USAGE, BLOCKS, [Breakpoint(1, "5m")], cache_rules(MODEL))
    assert found == kept()


def test_what_lives_longer_is_not_at_stake() -> None:
    blocks = BlockReader().read(
        [{"role": "user", "content": text} for text in ("a", "b", "c")], tokens=[[5_000], [3_000], [2_000]]
    )
    found = kept_prompt(USAGE, blocks, [Breakpoint(1, "1h"), Breakpoint(2, "5m")], cache_rules(MODEL))
    assert found is not None
    assert (found.at_stake, found.seconds, found.is_long) == (2_000, 300, False)
    whole = kept_prompt(USAGE, blocks, [Breakpoint(2, "1h")], cache_rules(MODEL))
    assert whole is not None
    assert (whole.at_stake, whole.seconds, whole.is_long) == (10_000, 3_600, True)


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "openai/gpt-5.6-luna", "google/gemini-2.5-flash"])
def test_vendors_whose_caches_are_not_renewed_for_sure_are_left_alone(model: str) -> None:
    assert kept_prompt(USAGE, BLOCKS, [Breakpoint(1, "5m")], cache_rules(model)) is None


def test_what_was_not_cached_cannot_be_kept() -> None:
    nothing = Usage(prompt_tokens=10_000, cached_tokens=0, cache_write_tokens=0)
    assert kept_prompt(nothing, BLOCKS, [Breakpoint(1, "5m")], cache_rules(MODEL)) is None
    assert kept_prompt(USAGE, BLOCKS, [], cache_rules(MODEL)) is None


def test_odds_follow_what_was_seen() -> None:
    odds = ReturnOdds(2)
    assert odds.chance(0) == pytest.approx(PRIOR_CHANCE)
    for _ in range(200):
        odds.count(0, came=True)
        odds.count(1, came=False)
    assert odds.chance(0) > 0.9 > 0.02 > odds.chance(1)
