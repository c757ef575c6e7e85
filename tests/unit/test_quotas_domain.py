"""One meter of one month: what is left, what is free, and the refusal in words."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.quotas import Allowance, Meter

AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=6)


def make_allowance(*, meter: Meter = Meter.MESSAGES, limit: str = "100", used: str = "0", held: str = "0") -> Allowance:
    return Allowance(meter, Decimal(limit), Decimal(used), Decimal(held))


def test_running_turns_do_not_lower_what_people_see_as_left() -> None:
    allowance = make_allowance(used="40", held="10")

    assert (allowance.remaining, allowance.free) == (60, 50)


def test_a_bill_above_the_limit_leaves_nothing_and_never_less() -> None:
    allowance = make_allowance(used="130")

    assert (allowance.remaining, allowance.free) == (0, -30)


@given(limit=AMOUNTS, used=AMOUNTS, held=AMOUNTS)
def test_what_is_left_adds_up(limit: Decimal, used: Decimal, held: Decimal) -> None:
    allowance = Allowance(Meter.TOKENS, limit, used, held)

    assert 0 <= allowance.remaining <= limit
    assert allowance.free + held + used == limit
    assert allowance.free <= allowance.remaining


@pytest.mark.parametrize(
    ("meter", "limit", "sentence"),
    [
        (Meter.MESSAGES, "100", "Monthly message limit reached (100)"),
        (Meter.MESSAGES, "1E+5", "Monthly message limit reached (100000)"),
        (Meter.TOKENS, "500000000", "Monthly token limit reached (500000000)"),
        (Meter.IMAGES, "5", "Monthly image limit reached (5)"),
    ],
)
def test_a_refusal_names_the_meter_and_its_limit_in_plain_digits(meter: Meter, limit: str, sentence: str) -> None:
    assert make_allowance(meter=meter, limit=limit).refusal == sentence
