"""Who pays for what a call for pictures was billed."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.quotas import Allowance, Balance, ImageAsk, Meter, TurnGrant, grant_images
from app.openrouter.attempts import Attempt
from app.openrouter.types import Usage
from app.services.image_job import bills_of

USAGE = Usage(prompt_tokens=7, completion_tokens=4_175, cost=Decimal("0.04"))
DRAWN = Attempt(number=1, models_asked=("m",), model="m", provider="p", usage=USAGE, generation_id="gen-1")
FAILED = replace(DRAWN, error="no_picture", generation_id="gen-0")


def test_what_was_delivered_is_the_persons_and_failures_are_the_houses() -> None:
    bills = bills_of([FAILED, DRAWN], asked=1, delivered=1)

    assert bills.charged is not None
    assert (bills.charged.kind, bills.charged.images, bills.charged.cost_usd) == ("image", 1, Decimal("0.04"))
    assert [(each.kind, each.generation_id, each.images) for each in bills.lost] == [("lost_attempt", "gen-0", 0)]
    assert bills.cost_each == Decimal("0.04")


@pytest.mark.parametrize("attempt", [DRAWN, FAILED])
def test_nothing_delivered_is_nothing_charged(attempt: Attempt) -> None:
    bills = bills_of([attempt], asked=1, delivered=0)
    assert bills.charged is None
    assert [each.cost_usd for each in bills.lost] == [Decimal("0.04")]


def test_a_failure_that_cost_nothing_is_in_no_book() -> None:
    refused = replace(FAILED, usage=None, generation_id=None)
    free = replace(FAILED, usage=replace(USAGE, cost=Decimal(0)))
    assert bills_of([refused, free], asked=1, delivered=0).lost == ()
    assert bills_of([], asked=1, delivered=0).lost == ()


@given(st.integers(1, 10), st.integers(1, 10), st.decimals("0.000001", 100, places=6), st.integers(0, 100_000))
def test_both_shares_together_are_the_bill(asked: int, delivered: int, cost: Decimal, tokens: int) -> None:
    drawn = replace(DRAWN, usage=replace(USAGE, cost=cost, completion_tokens=tokens))
    bills = bills_of([drawn], asked=asked, delivered=delivered)

    assert bills.charged is not None
    lines = (bills.charged, *bills.lost)
    assert sum((each.cost_usd or Decimal(0) for each in lines), Decimal(0)) == cost
    assert sum(each.completion_tokens for each in lines) == tokens
    assert sum(each.prompt_tokens for each in lines) == 7
    assert bills.charged.images == delivered


def test_a_bill_that_is_to_come_is_not_split() -> None:
    unknown = replace(DRAWN, usage=None)
    bills = bills_of([unknown], asked=2, delivered=1)
    assert bills.charged is not None
    assert (bills.charged.bill_is_to_come, bills.lost, bills.cost_each) == (True, (), None)


def balance(*, images: int = 5, reserved: int = 0, tokens: int = 100_000, cost: str = "1") -> Balance:
    def meter(name: Meter, limit: Decimal, held: int = 0) -> Allowance:
        return Allowance(name, limit, Decimal(0), Decimal(held))

    return Balance(
        messages=meter(Meter.MESSAGES, Decimal(0)),
        tokens=meter(Meter.TOKENS, Decimal(tokens)),
        images=meter(Meter.IMAGES, Decimal(images), reserved),
        cost=meter(Meter.COST, Decimal(cost)),
    )


ASK = ImageAsk(images=2, tokens=10_000, cost_usd=Decimal("0.5"))


def test_pictures_hold_all_they_ask_for_and_no_message() -> None:
    granted = grant_images(ASK, balance())
    assert isinstance(granted, TurnGrant)
    amounts = granted.amounts
    assert (amounts.images, amounts.tokens, amounts.cost_usd, amounts.messages) == (2, 10_000, Decimal("0.5"), 0)


@pytest.mark.parametrize(
    ("left", "meter"),
    [
        (balance(images=1), Meter.IMAGES),
        (balance(reserved=4), Meter.IMAGES),
        (balance(tokens=9_999), Meter.TOKENS),
        (balance(cost="0.49"), Meter.COST),
    ],
)
def test_or_nothing(left: Balance, meter: Meter) -> None:
    refused = grant_images(ASK, left)
    assert isinstance(refused, Allowance)
    assert refused.meter is meter


def test_without_a_known_price_all_the_money_is_held_in_shares() -> None:
    unknown = replace(ASK, cost_usd=None)
    first = grant_images(replace(unknown, shares=4), balance())
    alone = grant_images(unknown, balance())
    assert isinstance(first, TurnGrant)
    assert isinstance(alone, TurnGrant)
    assert (first.amounts.cost_usd, alone.amounts.cost_usd) == (Decimal("0.25"), Decimal(1))
    assert isinstance(grant_images(unknown, balance(cost="0")), Allowance)
