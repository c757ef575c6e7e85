"""Charts of a history that is known, on both databases: days of far zones, ranks, rates, percentiles."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event

from app.core.errors import InvalidField
from app.db.database import Database
from app.domain.analytics import DayRange, Filters
from app.domain.audit import Actor, ActorKind
from app.domain.plans import PlanTier
from app.services.analytics_service import AnalyticsService, month_begin
from app.services.openrouter_service import OpenRouterService
from tests.integration.test_rollups import BEGIN, TURN, Ended, House
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio
LOOKER = Actor(ActorKind.CLI)


@pytest.fixture
async def house(database: Database, database_url: str, tmp_path: Path) -> House:
    return await House.open(database, database_url, tmp_path)


@pytest.fixture
def analytics(database: Database, database_url: str, tmp_path: Path) -> AnalyticsService:
    made = make_settings(database_url=database_url, data_dir=tmp_path, openrouter_url="http://127.0.0.1:9/api/v1")
    openrouter = OpenRouterService(settings=lambda: made)
    return AnalyticsService(database=database, openrouter=openrouter, clock=lambda: BEGIN + timedelta(days=3))


def turn(person: int, hours: int, *, cost: str = "0.01", facts: dict[str, Any] | None = None, **call: Any) -> Ended:
    told = dict(TURN.facts or {}) | {"model": call.get("model", "a/one")} | (facts or {})
    return replace(
        TURN, person=person, hours=hours, call=replace(TURN.call, cost_usd=Decimal(cost), **call), facts=told
    )


async def live(house: House, turns: Sequence[Ended]) -> None:
    await asyncio.gather(*(house.end(each) for each in turns))


def values(items: Sequence[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(item[name] for name in names) for item in items]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", [(date(2026, 10, 30), 2), (date(2026, 10, 31), 1)]),  # asked at 12:00, 23:00 and 10:00
        ("Pacific/Kiritimati", [(date(2026, 10, 31), 2), (date(2026, 11, 1), 1)]),  # +14: 02:00, 13:00, 00:00
        ("Etc/GMT+12", [(date(2026, 10, 30), 3)]),  # -12: 00:00, 11:00, 22:00
        ("Asia/Tehran", [(date(2026, 10, 30), 1), (date(2026, 10, 31), 2)]),  # +3:30: 15:30, 02:30, 13:30
    ],
)
async def test_days_are_those_of_the_zone(
    house: House, analytics: AnalyticsService, zone: str, expected: list[tuple[date, int]]
) -> None:
    await live(house, [turn(0, 0), turn(0, 11), turn(1, 22)])
    filters = analytics.filters(first=date(2026, 10, 28), last=date(2026, 11, 3), time_zone=zone)

    report = await analytics.usage_trends(filters, "day", None)

    assert [each for each in values(report.items, "bucket", "messages") if each[1]] == expected
    assert len(report.items) == 7
    assert report.totals["messages"] == 3


async def test_a_day_on_which_clocks_change_has_all_its_hours(house: House, analytics: AnalyticsService) -> None:
    # In New York the 1st of November 2026 has 25 hours: it begins at 04:00 UTC and ends at 05:00.
    await live(house, [turn(0, hours) for hours in (39, 40, 64, 65)])  # 03:00, 04:00; 04:00, 05:00 a day later
    filters = analytics.filters(first=date(2026, 10, 31), last=date(2026, 11, 2), time_zone="America/New_York")

    report = await analytics.usage_trends(filters, "day", None)

    assert values(report.items, "messages") == [(1,), (2,), (1,)]


async def test_months_and_active_accounts_are_counted_once(house: House, analytics: AnalyticsService) -> None:
    await live(house, [turn(0, 0), turn(0, 1), turn(0, 24), turn(1, 24), turn(1, 48)])
    filters = analytics.filters(first=date(2026, 10, 1), last=date(2026, 11, 30))

    late = replace(filters, days=replace(filters.days, first=date(2026, 10, 30)))
    by_day = await analytics.usage_trends(late, "day", None)
    by_month = await analytics.usage_trends(filters, "month", None)
    stats = {each["metric"]: each["value"] for each in (await analytics.system_stats(filters)).items}

    assert values(by_day.items[:3], "active_users") == [(1,), (2,), (1,)]
    assert values(by_month.items, "bucket", "active_users", "messages") == [
        (date(2026, 10, 1), 2, 4),
        (date(2026, 11, 1), 1, 1),
    ]
    assert (stats["active_users"], stats["users"], stats["messages"], stats["conversations"]) == (2, 3, 5, 5)


async def test_the_period_before_stands_beside(house: House, analytics: AnalyticsService) -> None:
    await live(house, [turn(0, 0), turn(0, 24), turn(1, 25)])
    filters = analytics.filters(first=date(2026, 10, 31), last=date(2026, 10, 31))

    stats = {each["metric"]: each for each in (await analytics.system_stats(filters)).items}

    assert (stats["messages"]["value"], stats["messages"]["previous"], stats["messages"]["change"]) == (2, 1, 1.0)


@pytest.mark.parametrize(("by", "first"), [("cost", 1), ("messages", 0), ("tokens", 2), ("savings", 1)])
@pytest.mark.parametrize("last", [date(2026, 10, 31), date(2026, 10, 30)])  # a whole month, and a part of one
async def test_users_are_ranked(house: House, analytics: AnalyticsService, by: Any, first: int, last: date) -> None:
    await live(
        house,
        [
            *(turn(0, 0, cost="0.001") for _ in range(3)),
            turn(1, 1, cost="0.5", cache_discount_usd=Decimal("0.2")),
            turn(2, 2, cost="0.1", prompt_tokens=5_000),
            turn(0, 48, cost="7"),  # in November
        ],
    )
    filters = analytics.filters(last=last, default_first=month_begin)

    report = await analytics.top_users(LOOKER, filters, by=by, limit=10)

    assert report.items[0]["user_id"] == house.people[first]
    assert len(report.items) == 3
    assert report.totals["cost_usd"] == Decimal("0.603")
    top = await analytics.top_users(LOOKER, replace(filters, model="a/one"), by=by, limit=1)
    assert [each["user_id"] for each in top.items] == [house.people[first]]


async def test_a_month_and_a_day_more_count_nothing_twice(house: House, analytics: AnalyticsService) -> None:
    await live(house, [turn(0, 0), turn(0, 24), turn(0, 48), turn(0, 72)])
    filters = analytics.filters(first=date(2026, 10, 1), last=date(2026, 11, 1))

    (row,) = (await analytics.top_users(LOOKER, filters, by="cost", limit=5)).items

    assert row["messages"] == 3  # two in October, one on the 1st of November, none of the 2nd


async def test_models_tell_how_their_answers_ended(house: House, analytics: AnalyticsService) -> None:
    slow = {"first_token_ms": 4_000, "latency_ms": 9_000, "is_truncated": True, "fallback_used": True}
    failed = {"status": "failed", "error_code": "upstream_timeout", "latency_ms": None, "first_token_ms": None}
    await live(
        house,
        [
            *(turn(0, 0, model="b/two", facts={"first_token_ms": 100, "latency_ms": 1_000}) for _ in range(9)),
            turn(1, 0, model="b/two", facts=slow),
            turn(1, 0, model="c/three", facts=failed | {"schema_passed": False}),
        ],
    )

    report = await analytics.model_usage(analytics.filters(first=date(2026, 10, 30)))
    rows = {item["model"]: item for item in report.items}

    two = rows["b/two"]
    assert two["first_token_p50_ms"] == pytest.approx(100, rel=0.1)
    assert two["first_token_p95_ms"] == pytest.approx(4_000, rel=0.1)
    assert two["latency_p50_ms"] == pytest.approx(1_000, rel=0.1)
    assert (two["truncation_rate"], two["fallback_rate"], two["error_rate"]) == (0.1, 0.1, 0.0)
    assert (rows["c/three"]["error_rate"], rows["c/three"]["schema_failure_rate"]) == (1.0, 1.0)
    assert rows["c/three"]["errors"] == {"upstream_timeout": 1}
    assert two["breaker"] == "closed"


async def test_cache_performance_by_model_names_why_it_missed(house: House, analytics: AnalyticsService) -> None:
    read = {"prompt_tokens": 100, "cached_tokens_read": 80, "cache_discount_usd": Decimal("0.05")}
    await live(
        house,
        [
            turn(0, 0, model="b/two", **read),
            turn(0, 1, model="b/two", facts={"cache_outcome": "ttl_expired"}, prompt_tokens=100),
            turn(1, 0, prompt_tokens=50, facts={"cache_outcome": None}),
        ],
    )

    report = await analytics.cache_performance(analytics.filters(first=date(2026, 10, 30)), "model")

    rows = {item["group"]: item for item in report.items}
    assert (rows["b/two"]["cache_hit_rate"], rows["b/two"]["cache_savings_usd"]) == (0.4, Decimal("0.05"))
    assert rows["b/two"]["outcomes"] == {"hit": 1, "ttl_expired": 1}
    assert rows["a/one"]["outcomes"] == {}
    assert report.totals["cached_tokens_read"] == 80


async def test_plans_tell_money_and_moves(house: House, analytics: AnalyticsService) -> None:
    await live(house, [turn(0, 0, cost="1"), turn(2, 0, cost="3")])

    report = await analytics.plan_distribution(analytics.filters(first=date(2026, 10, 30), last=date(2026, 11, 1)))

    rows = {item["plan"]: item for item in report.items}
    assert values(report.items, "users") == [(0,), (2,), (1,), (0,)]
    assert rows["premium"]["mrr_usd"] == Decimal("39.98")
    # Both joined on the first of the three days.
    expected = Decimal("39.98") * 3 / Decimal("30.4375")
    assert abs(rows["premium"]["revenue_usd"] - expected) < Decimal("1e-12")
    assert rows["unlimited"]["margin_usd"] == rows["unlimited"]["revenue_usd"] - 3
    assert (report.totals["paid_share"], report.totals["conversions"], report.totals["churned"]) == (1.0, 0, 0)


async def test_filters_leave_the_rest_out(house: House, analytics: AnalyticsService) -> None:
    await live(house, [turn(0, 0), turn(2, 0, model="b/two", facts={"model": "b/two"})])
    every = analytics.filters(first=date(2026, 10, 30))

    for filters in (replace(every, plan=PlanTier.UNLIMITED), replace(every, model="b/two")):
        assert (await analytics.usage_trends(filters, "day", None)).totals["messages"] == 1
        assert [each["model"] for each in (await analytics.model_usage(filters)).items] == ["b/two"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"time_zone": "Asia/Kathmandu"}, "time_zone"),  # a quarter of an hour off
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"first": date(2026, 11, 2), "last": date(2026, 11, 1)}, "from"),
        ({"first": date(2020, 1, 1), "last": date(2026, 11, 1)}, "to"),
    ],
)
async def test_what_cannot_be_shown_is_refused_by_name(
    analytics: AnalyticsService, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidField, match=f"^{field}: "):
        analytics.filters(**asked)


async def test_the_month_that_runs_is_read_off_monthly_sums(
    house: House, analytics: AnalyticsService, database: Database
) -> None:
    await live(house, [turn(0, 48), turn(0, 72)])  # the 1st and the 2nd of November, which is today
    filters = analytics.filters(default_first=month_begin)
    seen: list[str] = []
    event.listen(
        database.engine.sync_engine, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement)
    )

    (row,) = (await analytics.top_users(LOOKER, filters, by="cost", limit=5)).items

    assert row["messages"] == 2
    assert any("usage_monthly" in each for each in seen)
    assert not any("usage_daily" in each for each in seen)


async def test_no_chart_reads_messages_or_the_ledger(
    house: House, analytics: AnalyticsService, database: Database
) -> None:
    await live(house, [turn(0, 0)])
    filters, seen = Filters(DayRange(date(2026, 10, 1), date(2026, 11, 1), ZoneInfo("UTC"))), []
    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))

    await analytics.system_stats(filters)
    await analytics.plan_distribution(filters)
    await analytics.usage_trends(filters, "day", "model")
    await analytics.top_users(LOOKER, filters, by="cost", limit=5)
    await analytics.model_usage(filters)
    await analytics.cache_performance(filters, "day")

    assert seen
    raw = ("usage_events", "messages ", "message_attempts", "answer_facts")
    assert [each for each in seen for name in raw if f"FROM {name}" in each or f"JOIN {name}" in each] == []
