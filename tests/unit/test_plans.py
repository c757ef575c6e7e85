"""The plans, against themselves: who pays more never gets less. Cell by cell they are tested where they are sold."""

from dataclasses import FrozenInstanceError, fields, replace
from decimal import Decimal
from itertools import pairwise

import pytest

from app.domain.plans import PLAN_LIMITS, PlanLimits, PlanTier

FREE, *PAID = PLAN_LIMITS
FEATURES = [each.name for each in fields(PlanLimits) if each.type is bool or each.type == "bool"]
COUNTS = [each.name for each in fields(PlanLimits) if each.type is int or each.type == "int"]


def test_each_plan_is_described_once_cheapest_first() -> None:
    assert [each.plan for each in PLAN_LIMITS] == list(PlanTier)
    prices = [each.price_usd_per_month for each in PLAN_LIMITS]
    assert prices == sorted(set(prices))


def test_there_are_counts_and_features_to_compare() -> None:
    assert len(COUNTS) == 5
    assert len(FEATURES) == 7


@pytest.mark.parametrize("name", [*COUNTS, *FEATURES])
def test_who_pays_more_never_gets_less(name: str) -> None:
    assert all(getattr(less, name) <= getattr(more, name) for less, more in pairwise(PLAN_LIMITS))


def test_faster_plans_cost_more_and_the_dearest_agrees_on_its_own_speed() -> None:
    speeds = [each.requests_per_minute for each in PLAN_LIMITS]

    assert speeds == [5, 50, 1_000, None]


def test_the_free_plan_has_search_and_no_other_feature() -> None:
    assert [name for name in FEATURES if getattr(FREE, name)] == ["web_search"]


@pytest.mark.parametrize("plan", PAID, ids=lambda each: each.plan.value)
def test_a_paid_plan_costs_the_house_less_than_it_brings(plan: PlanLimits) -> None:
    assert 0 < plan.cost_ceiling_usd_per_month < plan.price_usd_per_month


def test_the_free_plan_is_a_small_present() -> None:
    assert FREE.price_usd_per_month == 0
    assert 0 < FREE.cost_ceiling_usd_per_month <= 1


def test_money_is_decimal() -> None:
    money = {type(each) for plan in PLAN_LIMITS for each in (plan.price_usd_per_month, plan.cost_ceiling_usd_per_month)}

    assert money == {Decimal}


def test_limits_are_changed_by_new_versions_only() -> None:
    with pytest.raises(FrozenInstanceError):
        FREE.messages_per_month = 200  # type: ignore[misc]
    assert replace(FREE, messages_per_month=200) != FREE
