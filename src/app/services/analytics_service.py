"""Charts for operators, read off the sums that turns wrote: one statement for each kind of sum in a chart."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.core.clock import Clock, utc_now
from app.core.errors import InvalidField
from app.db.database import Database, database
from app.domain.analytics import (
    DEFAULT_DAYS,
    MOST_DAYS,
    DayRange,
    Filters,
    Row,
    UnevenZone,
    added,
    local_day,
    quality_numbers,
    ratio,
    revenue,
    speeds,
    usage_numbers,
)
from app.domain.audit import Action, Actor
from app.domain.ledger import USAGE
from app.domain.plans import PlanTier
from app.domain.rollups import ANSWERS, CACHE, ERROR, FIRST_TOKEN, LATENCY
from app.services.openrouter_service import OpenRouterService, openrouter_service

Granularity = Literal["day", "month"]
GroupBy = Literal["plan", "model"]
RankBy = Literal["cost", "tokens", "messages", "savings"]

SUMS = (*USAGE, *ANSWERS)
MOVES = (Action.SET_PLAN.value, Action.SCHEDULE.value, Action.REQUEST.value)


@dataclass(frozen=True, slots=True)
class Report:
    """A chart: the days it is about, its rows, and what they come to."""

    days: DayRange
    items: list[Row]
    totals: Row


class AnalyticsService:
    """Reads only; except that looking at people is written to the audit log."""

    def __init__(self, *, database: Database, openrouter: OpenRouterService, clock: Clock = utc_now) -> None:
        self._database = database
        self._openrouter = openrouter
        self._clock = clock

    def filters(
        self,
        *,
        first: date | None = None,
        last: date | None = None,
        time_zone: str = "UTC",
        plan: PlanTier | None = None,
        model: str | None = None,
        default_first: Callable[[date], date] | None = None,
    ) -> Filters:
        """What was asked for; raises :class:`InvalidField`. Without days: the last thirty, today included."""
        zone = _zone(time_zone)
        today = self._clock().astimezone(zone).date()
        until = last or today
        since = first or (default_first(until) if default_first else until - timedelta(days=DEFAULT_DAYS - 1))
        if since > until:
            raise InvalidField("from", "lies after `to`")
        if not date(1970, 1, 1) < since <= until < date(9990, 1, 1) or (until - since).days >= MOST_DAYS:
            raise InvalidField("to", f"at most {MOST_DAYS} days can be asked for at once")
        days = DayRange(since, until, zone)
        try:
            days.offsets()
        except UnevenZone as error:
            raise InvalidField("time_zone", str(error)) from None
        return Filters(days, plan, model)

    async def system_stats(self, filters: Filters) -> Report:
        """Each number beside the one of the days before."""
        days, before = filters.days, filters.days.before()
        async with self._database.read_only() as uow:
            sums = [added(await uow.analytics.sum_usage(filters, days=each), SUMS) for each in (days, before)]
            active = [await uow.analytics.count_active(filters, each) for each in (days, before)]
            users = await uow.analytics.count_users(days.end, before.end)
        told = [usage_numbers(each) | {"conversations": int(each["conversations"])} for each in sums]
        for numbers, there, asked in zip(told, users, active, strict=True):
            numbers |= {"users": there, "active_users": asked}
        items = [
            {"metric": name, "value": value, "previous": told[1][name], "change": _change(value, told[1][name])}
            for name, value in told[0].items()
        ]
        return Report(days, items, {})

    async def plan_distribution(self, filters: Filters) -> Report:
        """Accounts, money and use by plan, and who moved between them."""
        days, now = filters.days, self._clock()
        async with self._database.read_only() as uow:
            plans = await uow.analytics.list_plans(days, now)
            sums = {row["plan"]: row for row in await uow.analytics.sum_usage(filters, "plan")}
            moves = await uow.analytics.count_moves(days, MOVES)
            lapsed = await uow.analytics.count_lapsed(days, now)
        items = []
        for plan in PlanTier:
            if filters.plan not in (None, plan):
                continue
            there = [row for row in plans if row[0] == plan]
            used = usage_numbers(sums.get(plan) or dict.fromkeys(SUMS, 0))
            earned = sum((revenue(row[1], row[2], days, now.date()) * row[3] for row in there), Decimal(0))
            items.append(
                {
                    "plan": plan.value,
                    "users": sum(row[3] for row in there),
                    "mrr_usd": sum((row[1] * row[3] for row in there), Decimal(0)),
                    "revenue_usd": earned,
                    "margin_usd": earned - used["cost_usd"],
                    **{name: used[name] for name in ("messages", "tokens", "cost_usd")},
                }
            )
        free = PlanTier.FREE.value
        begun = sum(count for (was, became), count in moves.items() if was == free != became)
        left = lapsed + sum(count for (was, became), count in moves.items() if was != free == became)
        totals = added(items, ("users", "mrr_usd", "revenue_usd", "margin_usd", "messages", "tokens", "cost_usd"))
        paid = sum(item["users"] for item in items if item["plan"] != free)
        totals |= {
            "paid_users": paid,
            "paid_share": ratio(paid, totals["users"]),
            "conversions": begun,
            "conversion_rate": ratio(begun, begun + totals["users"] - paid),
            "churned": left,
            "churn_rate": ratio(left, left + paid),
        }
        return Report(days, items, totals)

    async def usage_trends(self, filters: Filters, granularity: Granularity, by: GroupBy | None) -> Report:
        """Each day or month of the range, those without use included."""
        groups = ("day",) if by is None else ("day", by)
        active: dict[date, int] | None = None
        async with self._database.read_only() as uow:
            rows = await uow.analytics.sum_usage(filters, *groups)
            if by is None and filters.model is None:
                count = (
                    uow.analytics.count_active_by_day if granularity == "day" else uow.analytics.count_active_by_month
                )
                active = await count(filters)
        found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        if by is None:
            for number in range(filters.days.days):
                found[(_bucket(filters.days.first + timedelta(days=number), granularity),)] = []
        for row in rows:
            bucket = _bucket(local_day(row["day"]), granularity)
            found[(bucket,) if by is None else (bucket, row[by])].append(row)
        items = []
        for key in sorted(found, key=lambda each: tuple(map(str, each))):
            sums = added(found[key], SUMS)
            told = {"bucket": key[0], "group": None if by is None else str(key[1])}
            told |= {"active_users": None if active is None else active.get(key[0], 0)}
            told |= {"conversations": int(sums["conversations"]), "failed": int(sums["failed"])}
            items.append(told | usage_numbers(sums))
        return Report(filters.days, items, usage_numbers(added(rows, SUMS)))

    async def top_users(self, actor: Actor, filters: Filters, *, by: RankBy, limit: int) -> Report:
        """Who used most in the UTC days of the range, what that cost, and what it brought in."""
        now, days = self._clock(), filters.days
        async with self._database.unit_of_work() as uow:
            rows = await uow.analytics.list_top_users(_with_days_to_come(filters, now.date()), by=by, limit=limit)
            await uow.audit.record(actor, Action.READ_TOP_USERS, now=now)
            await uow.commit()
        items = []
        for row in rows:
            used = usage_numbers(row)
            is_there = row["price_usd_per_month"] is not None
            earned = (
                revenue(row["price_usd_per_month"], row["created_at"].date(), days, now.date())
                if is_there
                else Decimal(0)
            )
            person = {"user_id": row["user_id"], "email": row["email"], "plan": row["plan"]}
            items.append(person | used | {"revenue_usd": earned, "margin_usd": earned - used["cost_usd"]})
        names = ("messages", "tokens", "images", "cost_usd", "cache_savings_usd", "revenue_usd", "margin_usd")
        return Report(days, items, added(items, names))

    async def model_usage(self, filters: Filters) -> Report:
        """How much each model was used, how fast it was and how its answers ended."""
        async with self._database.read_only() as uow:
            rows = await uow.analytics.sum_usage(filters, "model")
            tallies = await uow.analytics.tally(filters, (FIRST_TOKEN, LATENCY, ERROR), "model")
        by_model: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        for model, measure, value, answers in tallies:
            by_model[model].append((measure, value, answers))
        states = self._openrouter.breaker_states()
        items = [
            {
                "model": row["model"],
                **usage_numbers(row),
                **quality_numbers(row),
                **speeds(by_model.get(row["model"], ())),
                "breaker": states.get(row["model"], "closed"),
            }
            for row in rows
        ]
        items.sort(key=lambda item: (-item["cost_usd"], item["model"]))
        sums = added(rows, SUMS)
        return Report(filters.days, items, usage_numbers(sums) | quality_numbers(sums))

    async def cache_performance(self, filters: Filters, by: Literal["day", "model", "plan"]) -> Report:
        """How much of the prompts came from a cache, what that saved, and why the rest did not."""
        async with self._database.read_only() as uow:
            rows = await uow.analytics.sum_usage(filters, by)
            outcomes = await uow.analytics.tally(filters, (CACHE,), by)
        reasons: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        every: dict[str, int] = defaultdict(int)
        for group, _, outcome, answers in outcomes:
            reasons[group][outcome] += int(answers)
            every[outcome] += int(answers)
        items = [_cached(row, by, reasons) for row in rows]
        totals = _cache_numbers(added(rows, SUMS)) | {"outcomes": dict(sorted(every.items()))}
        return Report(filters.days, items, totals)


def _cached(row: Row, by: str, reasons: dict[Any, dict[str, int]]) -> Row:
    group = local_day(row["day"]) if by == "day" else row[by]
    return {"group": str(group), **_cache_numbers(row), "outcomes": dict(sorted(reasons[group].items()))}


def _cache_numbers(sums: Row) -> Row:
    names = ("requests", "prompt_tokens", "cached_tokens_read", "cached_tokens_write")
    told = usage_numbers(sums)
    return {name: told[name] for name in (*names, "cache_hit_rate", "cache_savings_usd")}


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidField("time_zone", f"no time zone {name!r}; use a name such as Asia/Tehran") from None


def _with_days_to_come(filters: Filters, today: date) -> Filters:
    """To the end of the month where the range ends today or later: nothing lies there, and whole months are fast."""
    days = filters.days
    if days.last < today:
        return filters
    end = (days.last.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return replace(filters, days=replace(days, last=end))


def _bucket(day: date, granularity: Granularity) -> date:
    return day if granularity == "day" else day.replace(day=1)


def _change(value: Any, previous: Any) -> float | None:
    """The growth as a part of what was before; ``None`` from nothing."""
    return None if value is None or not previous else float(value) / float(previous) - 1


def month_begin(day: date) -> date:
    """The first of a day's month: a range of whole months is read off monthly sums."""
    return day.replace(day=1)


analytics_service = AnalyticsService(database=database, openrouter=openrouter_service)
