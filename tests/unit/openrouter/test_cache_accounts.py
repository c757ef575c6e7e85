"""What caching saved, by the price list, and whether the bill proves it."""

from dataclasses import replace
from decimal import Decimal

import pytest

from app.openrouter.cache_accounts import CacheAccount, account_for, account_for_record, long_written_tokens
from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.catalog import shipped_catalog
from app.openrouter.pricing import estimate_cost
from app.openrouter.types import Usage

SONNET = shipped_catalog().require("anthropic/claude-sonnet-5.5").prices
"""USD 2 a million read plainly, 0.1 from the cache; 2.5 to write for five minutes, 4 for an hour."""
MICRO = Decimal("0.000001")


def prompt(*ends: int, marks: str = "") -> tuple[PromptBlocks, list[Breakpoint]]:
    """Blocks that end after so many tokens, the first ones marked for these times."""
    points = [Breakpoint(at, ttl) for at, ttl in enumerate(marks.split())]
    return PromptBlocks(ends=list(ends)), points


def used(*, cached: int | None = 0, written: int | None = 0, long: int = 0, prompt: int = 10_000) -> Usage:
    usage = Usage(prompt_tokens=prompt, completion_tokens=50, cached_tokens=cached, cache_write_tokens=written)
    return replace(usage, cost=estimate_cost(SONNET, usage, long_written=long))


MIXED = prompt(4_000, 9_000, 10_000, marks="1h 5m")
SHORT = prompt(9_000, marks="5m")
UNMARKED = prompt(9_000)


def test_a_write_that_nobody_read_yet_is_a_loss() -> None:
    assert account_for(used(written=8_000), SONNET, *SHORT) == CacheAccount(-8_000 * MICRO / 2)


def test_a_write_for_an_hour_is_priced_as_one() -> None:
    account = account_for(used(written=8_000, long=8_000), SONNET, *prompt(9_000, marks="1h"))
    assert account == CacheAccount(-8_000 * 2 * MICRO)


def test_the_bill_says_how_much_of_a_mixed_write_is_long() -> None:
    usage = used(cached=1_000, written=7_500, long=3_100)
    assert long_written_tokens(usage, SONNET, *MIXED) == 3_100
    saved = 1_000 * Decimal("1.9") - 3_100 * 2 - 4_400 * Decimal("0.5")
    assert account_for(usage, SONNET, *MIXED) == CacheAccount(saved * MICRO)


def test_without_a_bill_the_marks_say_it_roughly() -> None:
    unbilled = replace(used(cached=1_000, written=7_500), prompt_tokens=20_000, cost=None)
    assert long_written_tokens(unbilled, SONNET, *MIXED) == 8_000 - 1_000


def test_a_host_with_prices_of_its_own_is_not_settled() -> None:
    usage = used(cached=9_000)
    assert usage.cost is not None
    account = account_for(replace(usage, cost=usage.cost * 2), SONNET, *UNMARKED)
    assert account == CacheAccount(9_000 * Decimal("1.9") * MICRO, is_settled=False)


def test_writes_that_are_not_told_are_not_taken_for_none() -> None:
    billed = replace(used(written=8_000), cache_write_tokens=None)
    assert not account_for(billed, SONNET, *SHORT).is_settled
    assert account_for(replace(used(), cache_write_tokens=None), SONNET, *UNMARKED) == CacheAccount(Decimal(0))


@pytest.mark.parametrize("usage", [None, Usage(prompt_tokens=5)])
def test_what_nobody_told_is_unknown(usage: Usage | None) -> None:
    assert account_for(usage, SONNET, *UNMARKED) == CacheAccount(None)


def test_an_unknown_model_has_no_discount() -> None:
    assert account_for(used(cached=5), None, *UNMARKED) == CacheAccount(None)


def test_what_cost_nothing_saved_nothing() -> None:
    free = replace(used(cached=9_000), cost=Decimal(0))
    assert account_for(free, SONNET, *UNMARKED) == CacheAccount(Decimal(0))
    assert account_for_record(replace(free, cache_write_tokens=None), None, SONNET, [])[1] == 0


class TestRecords:
    """A billing record counts what was read, not what was written."""

    def record(self, *, long: int = 0, cached: int = 0, written: int = 0) -> Usage:
        return replace(used(cached=cached, written=written, long=long), cache_write_tokens=None)

    def test_the_bill_tells_what_was_written(self) -> None:
        usage, discount = account_for_record(self.record(cached=1_000, written=8_000), None, SONNET, ["", "5m"])
        assert usage.cache_write_tokens == 8_000
        assert discount == (1_000 * Decimal("1.9") - 8_000 * Decimal("0.5")) * MICRO

    def test_also_for_an_hour(self) -> None:
        usage, discount = account_for_record(self.record(written=200, long=200), None, SONNET, ["1h"])
        assert (usage.cache_write_tokens, discount) == (200, -200 * 2 * MICRO)

    def test_what_is_written_for_two_lifetimes_stays_unknown(self) -> None:
        usage, discount = account_for_record(self.record(written=800), None, SONNET, ["1h", "5m"])
        assert (usage.cache_write_tokens, discount) == (None, None)

    def test_a_bill_with_other_things_in_it_tells_nothing(self) -> None:
        usage = self.record(written=800)
        assert usage.cost is not None
        assert account_for_record(replace(usage, cost=usage.cost + MICRO / 10), None, SONNET, [""])[1] is None

    def test_the_records_own_word_counts(self) -> None:
        told = Decimal("-0.25")
        assert account_for_record(self.record(written=8_003), told, SONNET, [""])[1] == told
        assert account_for_record(self.record(written=8_003), told, None, [""])[1] == told
