"""Estimates follow the price list to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.openrouter.catalog import shipped_catalog
from app.openrouter.pricing import PriceList, Prices, cache_discount, estimate_cost, highest_cost, read_prices
from app.openrouter.types import Usage

CATALOG = shipped_catalog()
SONNET = CATALOG.require("anthropic/claude-sonnet-5.5").prices
TIERED = CATALOG.require("anthropic/claude-sonnet-4.5").prices
GEMINI = CATALOG.require("google/gemini-2.5-flash").prices


def usage(prompt: int, completion: int, **parts: int) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, **parts)


class TestEstimate:
    def test_cached_tokens_are_part_of_the_prompt(self) -> None:
        assert estimate_cost(SONNET, usage(5200, 40, cached_tokens=5000)) == Decimal("0.0013")

    @pytest.mark.parametrize(
        ("prices", "row", "billed"),
        [
            (("0.000005", "0.000025", "0.0000005", "0.00000625"), (93_500, 9_052, 0, 93_498), "0.8106725"),
            (("0.000003", "0.000015", "0.0000003", "0.00000375"), (15_328, 457, 15_252, 70), "0.0117111"),
        ],
    )
    def test_billed_rows_are_met_to_the_last_digit(
        self, prices: tuple[str, ...], row: tuple[int, ...], billed: str
    ) -> None:
        names = ("prompt", "completion", "input_cache_read", "input_cache_write")
        price_list = read_prices(dict(zip(names, prices, strict=True)))
        prompt, completion, cached, written = row
        used = usage(prompt, completion, cached_tokens=cached, cache_write_tokens=written)
        assert estimate_cost(price_list, used) == Decimal(billed)

    def test_the_dearer_tier_begins_above_its_limit(self) -> None:
        at, above = estimate_cost(TIERED, usage(200_000, 0)), estimate_cost(TIERED, usage(200_001, 0))
        assert at == 200_000 * Decimal("0.000003")
        assert above == 200_001 * Decimal("0.000006")

    def test_the_later_override_wins_price_by_price(self) -> None:
        rows = [{"min_prompt_tokens": 10, "prompt": "2", "completion": "5"}, {"min_prompt_tokens": 20, "prompt": "3"}]
        prices = read_prices({"prompt": "1", "completion": "1", "overrides": rows}).at(21)
        assert (prices.prompt, prices.completion) == (3, 5)

    def test_prices_by_the_hour_are_left_out(self) -> None:
        rows = [{"utc_start": "00:00", "utc_end": "08:00", "min_prompt_tokens": 0, "prompt": "9"}]
        assert read_prices({"prompt": "1", "completion": "1", "overrides": rows}).at(5).prompt == 1

    def test_image_tokens_have_their_own_price(self) -> None:
        prices = CATALOG.require("google/gemini-2.5-flash-image").prices
        drawn = estimate_cost(prices, usage(0, 1300, image_tokens=1290))
        assert drawn == 1290 * Decimal("0.00003") + 10 * Decimal("0.0000025")

    def test_a_price_per_request_is_added(self) -> None:
        prices = PriceList(base=Prices(prompt=Decimal(0), completion=Decimal(0), request=Decimal("0.005")))
        assert estimate_cost(prices, usage(1, 1)) == Decimal("0.005")

    def test_what_is_unknown_stays_unknown(self) -> None:
        assert estimate_cost(SONNET, Usage(prompt_tokens=1)) is None
        assert estimate_cost(CATALOG.require("openrouter/auto").prices, usage(1, 1)) is None

    def test_free_is_zero_and_not_unknown(self) -> None:
        assert estimate_cost(CATALOG.require("openrouter/free").prices, usage(10, 10)) == 0


class TestCacheDiscount:
    def test_reading_saves_and_writing_costs(self) -> None:
        read, written = usage(5200, 0, cached_tokens=5000), usage(5200, 0, cache_write_tokens=1000)
        assert cache_discount(SONNET, read) == 5000 * Decimal("0.0000019")
        assert cache_discount(SONNET, written) == -1000 * Decimal("0.0000005")

    def test_writing_for_an_hour_costs_more(self) -> None:
        assert cache_discount(SONNET, usage(5200, 0, cache_write_tokens=1000), long_written=1000) == -Decimal("0.002")

    def test_a_write_price_below_input_is_storage_on_top(self) -> None:
        written = usage(5000, 0, cache_write_tokens=5000)
        storage = 5000 * Decimal(str(GEMINI.base.input_cache_write))
        assert cache_discount(GEMINI, written) == -storage
        assert estimate_cost(GEMINI, written) == 5000 * Decimal("0.0000003") + storage

    def test_unknown_counts_have_no_discount(self) -> None:
        assert cache_discount(SONNET, usage(5200, 0)) is None

    @given(st.integers(0, 300_000), st.data())
    def test_it_is_the_difference_to_a_call_without_a_cache(self, prompt: int, data: st.DataObject) -> None:
        cached = data.draw(st.integers(0, prompt))
        written = data.draw(st.integers(0, prompt - cached))
        used = usage(prompt, 10, cached_tokens=cached, cache_write_tokens=written)
        for prices in (SONNET, TIERED, GEMINI):
            with_cache, without = estimate_cost(prices, used), estimate_cost(prices, usage(prompt, 10))
            assert with_cache is not None
            assert without is not None
            assert cache_discount(prices, used) == without - with_cache


@given(st.integers(0, 300_000), st.integers(1, 100_000), st.data())
def test_nothing_costs_more_than_the_highest_cost(prompt: int, max_tokens: int, data: st.DataObject) -> None:
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached))
    drawn = data.draw(st.integers(0, max_tokens))
    used = usage(prompt, max_tokens, cached_tokens=cached, cache_write_tokens=written, image_tokens=drawn)
    for model in CATALOG:
        cost = estimate_cost(model.prices, used, long_written=used.cache_write_tokens or 0)
        bound = highest_cost(model.prices, prompt_tokens=prompt, max_tokens=max_tokens)
        assert (cost is None) == (bound is None)
        assert cost is None or bound is None or cost <= bound
