"""The local tokenizer and the price list, as pure rooms."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_emulator.catalogue.pricing import PriceList, TokenCounts
from openrouter_emulator.tokens import count_tokens, split_tokens


class TestTokens:
    @given(st.text())
    def test_pieces_join_back_to_the_text(self, text: str) -> None:
        assert "".join(split_tokens(text)) == text

    @pytest.mark.parametrize(
        ("text", "at_least", "at_most"),
        [
            ("The traveller may shorten the prayers of four units to two units while on the road.", 15, 20),
            ("يجوز للمسافر أن يقصر الصلاة الرباعية إلى ركعتين ما دام على سفر.", 18, 28),
            ("مسافر می‌تواند نمازهای چهار رکعتی را دو رکعت بخواند.", 15, 26),
        ],
    )
    def test_counts_are_near_those_of_real_vocabularies(self, text: str, at_least: int, at_most: int) -> None:
        assert at_least <= count_tokens(text) <= at_most


class TestPrices:
    def test_a_billed_row_is_reproduced_to_the_last_digit(self) -> None:
        prices = PriceList.parse({"prompt": "0.000005", "completion": "0.000025", "input_cache_write": "0.00000625"})
        counts = TokenCounts(prompt=93_500, completion=9_052, written=93_498)
        assert prices.cost(counts).total == Decimal("0.8106725")

    def test_cached_and_written_tokens_are_parts_of_the_prompt(self) -> None:
        prices = PriceList.parse(
            {
                "prompt": "0.000003",
                "completion": "0.000015",
                "input_cache_read": "0.0000003",
                "input_cache_write": "0.00000375",
            }
        )
        counts = TokenCounts(prompt=15_328, completion=457, cached=15_252, written=70)
        assert prices.cost(counts).total == Decimal("0.0117111")

    def test_an_override_needs_strictly_more_tokens_and_then_holds_for_all(self) -> None:
        prices = PriceList.parse(
            {"prompt": "0.1", "completion": "1", "overrides": [{"min_prompt_tokens": 10, "prompt": "0.2"}]}
        )
        assert prices.cost(TokenCounts(prompt=10)).total == Decimal("1.0")
        assert prices.cost(TokenCounts(prompt=11, completion=1)).total == Decimal("3.2")

    def test_image_tokens_have_their_own_price(self) -> None:
        prices = PriceList.parse({"prompt": "0", "completion": "0.1", "image_output": "0.5"})
        assert prices.cost(TokenCounts(completion=12, image=10)).total == Decimal("5.2")
