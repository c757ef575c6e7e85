"""Months and days follow from the ledger's lines alone."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.domain.ledger import Difference, LedgerLine, compare, project

USER = UUID(int=1)
PERIOD = datetime(2026, 11, 1, tzinfo=UTC)


def make_line(**changes: Any) -> LedgerLine:
    values: dict[str, Any] = {
        "user_id": USER,
        "kind": "chat",
        "plan": "premium",
        "model": "openai/gpt-4o",
        "period_start": PERIOD,
        "created_at": PERIOD + timedelta(hours=1),
        "messages": 1,
        "images": 0,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cached_tokens_read": 10,
        "cached_tokens_write": 0,
        "cost_usd": Decimal("0.002"),
        "cache_discount_usd": Decimal("0.0001"),
    }
    return LedgerLine(**(values | changes))


def test_lines_of_a_month_add_up() -> None:
    month = project([make_line(), make_line(cost_usd=None)]).months[(USER, PERIOD)]

    assert month == {
        "messages_used": 2,
        "tokens_used": 240,
        "images_used": 0,
        "cost_usd": Decimal("0.002"),
        "cache_savings_usd": Decimal("0.0002"),
    }


def test_what_the_house_pays_counts_against_no_plan_but_stands_in_its_day() -> None:
    projection = project([make_line(kind="lost_attempt", messages=0)])

    assert projection.months == {}
    assert [key[-1] for key in projection.days] == ["lost_attempt"]


def test_a_late_bill_adds_money_but_no_request() -> None:
    late = make_line(kind="late_bill", messages=0)

    assert project([late]).days[(USER, PERIOD.date(), "openai/gpt-4o", "premium", "late_bill")]["requests"] == 0
    assert project([make_line(cost_usd=None), late]).months[(USER, PERIOD)]["cost_usd"] == Decimal("0.002")


def test_days_are_utc_days() -> None:
    east = make_line(created_at=datetime.fromisoformat("2026-11-02T01:30:00+03:30"))

    assert next(iter(project([east]).days))[1] == datetime(2026, 11, 1, tzinfo=UTC).date()


def test_a_wrong_sum_is_named_with_both_numbers() -> None:
    projected = project([make_line()]).months
    stored = {(USER, PERIOD): dict(projected[(USER, PERIOD)]) | {"messages_used": 7}}

    assert compare("monthly_usage_quotas", stored, projected) == [
        Difference("monthly_usage_quotas", (USER, PERIOD), "messages_used", 7, 1)
    ]


def test_a_month_that_was_opened_but_not_used_is_right() -> None:
    zeros = dict.fromkeys(("messages_used", "tokens_used", "images_used", "cost_usd", "cache_savings_usd"), 0)

    assert compare("monthly_usage_quotas", {(USER, PERIOD): zeros}, {}) == []


@given(st.permutations([make_line(cost_usd=Decimal(n) / 1000, prompt_tokens=100 + n) for n in range(6)]))
def test_the_order_of_the_lines_does_not_matter(lines: list[LedgerLine]) -> None:
    assert project(lines) == project(sorted(lines, key=lambda each: each.prompt_tokens))
