"""What charts read: one statement each, over sums whose number of rows does not grow with what was asked."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Integer, and_, case, cast, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import (
    AnswerTally,
    AuditEntry,
    PlanLimitsRow,
    Subscription,
    SystemUsage,
    UsageDaily,
    UsageMonthly,
    User,
)
from app.domain.analytics import DayRange, Filters
from app.domain.ledger import USAGE
from app.domain.rollups import ANSWERS, day_bits

_SUMS = (*USAGE, *ANSWERS)
_SLOTS_A_DAY = 48


class Analytics:
    """Reads sums, ``subscriptions`` and, for changes of plans, ``audit_log``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._is_sqlite = session.get_bind().dialect.name == "sqlite"

    async def sum_usage(self, filters: Filters, *by: str, days: DayRange | None = None) -> list[dict[str, Any]]:
        """The house's sums; ``by``: ``day`` (its number since 1970, in the zone of the range), ``plan``, ``model``."""
        days = days or filters.days
        first, after = days.slots
        groups = [_local_day(days).label("day") if name == "day" else getattr(SystemUsage, name) for name in by]
        query = (
            select(*groups, *(func.sum(getattr(SystemUsage, name)).label(name) for name in _SUMS))
            .where(SystemUsage.slot >= first, SystemUsage.slot < after, *_matches(SystemUsage, filters))
            .group_by(*groups)
            .order_by(*groups)
        )
        rows = (await self._session.execute(query)).mappings().all()
        return [dict(row) for row in rows if row["requests"] is not None]

    async def tally(self, filters: Filters, measures: Collection[str], *by: str) -> Sequence[tuple[Any, ...]]:
        """Answers of the UTC days of the range: the columns ``by``, then measure, value and how many."""
        groups = [*(getattr(AnswerTally, name) for name in by), AnswerTally.measure, AnswerTally.value]
        query = (
            select(*groups, func.sum(AnswerTally.answers))
            .where(
                AnswerTally.day.between(filters.days.first, filters.days.last),
                AnswerTally.measure.in_(measures),
                *_matches(AnswerTally, filters),
            )
            .group_by(*groups)
        )
        return [tuple(row) for row in (await self._session.execute(query)).all()]

    async def count_active(self, filters: Filters, days: DayRange | None = None) -> int:
        """Accounts that asked for something on one of the UTC days of the range."""
        days = days or filters.days
        is_active = or_(
            *(
                and_(UsageMonthly.month == month, UsageMonthly.active_days.bitwise_and(bits) != 0)
                for month, bits in _months(days)
            )
        )
        query = select(func.count(func.distinct(UsageMonthly.user_id))).where(is_active)
        if filters.plan is not None:
            query = query.where(UsageMonthly.plan == filters.plan)
        return (await self._session.scalar(query)) or 0

    async def count_active_by_month(self, filters: Filters) -> dict[date, int]:
        """The same for each calendar month (UTC) of the range."""
        query = select(UsageMonthly.month, func.count(func.distinct(UsageMonthly.user_id))).where(
            or_(
                *(
                    and_(UsageMonthly.month == month, UsageMonthly.active_days.bitwise_and(bits) != 0)
                    for month, bits in _months(filters.days)
                )
            )
        )
        if filters.plan is not None:
            query = query.where(UsageMonthly.plan == filters.plan)
        return {row[0]: row[1] for row in (await self._session.execute(query.group_by(UsageMonthly.month))).all()}

    async def count_active_by_day(self, filters: Filters) -> dict[date, int]:
        """The same for each UTC day. Who changed plans on a day counts for both."""
        bits = [func.sum(UsageMonthly.active_days.bitwise_rshift(number).bitwise_and(1)) for number in range(31)]
        months = [month for month, _ in _months(filters.days)]
        query = select(UsageMonthly.month, *bits).where(UsageMonthly.month.in_(months)).group_by(UsageMonthly.month)
        if filters.plan is not None:
            query = query.where(UsageMonthly.plan == filters.plan)
        rows = (await self._session.execute(query)).all()
        return {row[0] + timedelta(days=number): int(row[number + 1]) for row in rows for number in range(31)}

    async def count_users(self, *instants: datetime) -> list[int]:
        """How many accounts there were at each instant."""
        columns = (func.count(case((User.created_at < instant, 1))) for instant in instants)
        return list((await self._session.execute(select(*columns))).one())

    async def list_top_users(self, filters: Filters, *, by: str, limit: int) -> list[dict[str, Any]]:
        """The accounts with the largest sums in the UTC days of the range, with address and subscription."""
        summed = self._usage_of_users(filters)
        order = {
            "cost": summed.c.cost_usd,
            "tokens": summed.c.prompt_tokens + summed.c.completion_tokens,
            "messages": summed.c.messages,
            "savings": summed.c.cache_discount_usd,
        }[by]
        top = select(summed).order_by(order.desc(), summed.c.user_id).limit(limit).subquery()
        now_order = {
            "cost": top.c.cost_usd,
            "tokens": top.c.prompt_tokens + top.c.completion_tokens,
            "messages": top.c.messages,
            "savings": top.c.cache_discount_usd,
        }[by]
        query = (
            select(top, User.email, User.created_at, Subscription.plan, PlanLimitsRow.price_usd_per_month)
            .outerjoin(User, User.id == top.c.user_id)
            .outerjoin(Subscription, Subscription.user_id == top.c.user_id)
            .outerjoin(
                PlanLimitsRow,
                and_(PlanLimitsRow.plan == Subscription.plan, PlanLimitsRow.version == Subscription.plan_version),
            )
            .order_by(now_order.desc(), top.c.user_id)
        )
        return [dict(row) for row in (await self._session.execute(query)).mappings().all()]

    async def list_plans(self, days: DayRange, now: datetime) -> Sequence[tuple[Any, ...]]:
        """Accounts in force now: plan, price, the UTC day they joined (the range's first, if before), how many."""
        is_next = and_(Subscription.next_plan_at.is_not(None), Subscription.next_plan_at <= now)
        plan = case((is_next, Subscription.next_plan), else_=Subscription.plan)
        version = case((is_next, Subscription.next_plan_version), else_=Subscription.plan_version)
        joined = case((User.created_at < days.begin, literal(days.first, Date)), else_=self._day(User.created_at))
        query = (
            select(PlanLimitsRow.plan, PlanLimitsRow.price_usd_per_month, joined, func.count())
            .select_from(Subscription)
            .join(User, User.id == Subscription.user_id)
            .join(PlanLimitsRow, and_(PlanLimitsRow.plan == plan, PlanLimitsRow.version == version))
            .group_by(PlanLimitsRow.plan, PlanLimitsRow.price_usd_per_month, joined)
        )
        return [tuple(row) for row in (await self._session.execute(query)).all()]

    async def count_moves(self, days: DayRange, actions: Collection[str]) -> dict[tuple[str, str], int]:
        """Changes of plans that were written down in the range: (from, to) and how many."""
        before, after = AuditEntry.before["plan"].as_string(), AuditEntry.after["plan"].as_string()
        query = (
            select(before, after, func.count())
            # Ids begin with the time: the key finds the range.
            .where(AuditEntry.id >= _first_id(days.begin), AuditEntry.id < _first_id(days.end))
            .where(AuditEntry.action.in_(actions), before != after)
            .group_by(before, after)
        )
        return {(row[0], row[1]): row[2] for row in (await self._session.execute(query)).all()}

    async def count_lapsed(self, days: DayRange, now: datetime) -> int:
        """Paid plans that ended in the range because that had been arranged before."""
        query = select(func.count()).where(
            Subscription.next_plan_at >= days.begin,
            Subscription.next_plan_at < min(days.end, now),
            Subscription.next_plan == "free",
            Subscription.plan != "free",
        )
        return (await self._session.scalar(query)) or 0

    def _usage_of_users(self, filters: Filters) -> Any:
        """By calendar months where the range holds whole ones, by days at its ends and where a model is asked for."""
        days = filters.days
        whole = [] if filters.model else _whole_months(days)
        edges = and_(
            UsageDaily.day.between(days.first, days.last),
            *([or_(UsageDaily.day < whole[0], UsageDaily.day >= _next(whole[-1]))] if whole else []),
        )
        parts = []
        if whole:
            parts.append(
                select(UsageMonthly.user_id, *(getattr(UsageMonthly, name) for name in USAGE)).where(
                    UsageMonthly.month.in_(whole), *_matches(UsageMonthly, filters)
                )
            )
        if not whole or days.first < whole[0] or days.last >= _next(whole[-1]):
            parts.append(
                select(UsageDaily.user_id, *(getattr(UsageDaily, name) for name in USAGE)).where(
                    edges, *_matches(UsageDaily, filters)
                )
            )
        found = union_all(*parts).subquery().c
        sums = (func.sum(found[name]).label(name) for name in USAGE)
        return select(found.user_id, *sums).group_by(found.user_id).subquery()

    def _day(self, instant: Any) -> Any:
        if self._is_sqlite:
            return func.date(instant, type_=Date)
        return cast(func.timezone("UTC", instant), Date)


def _matches(table: Any, filters: Filters) -> list[Any]:
    found = []
    if filters.plan is not None:
        found.append(table.plan == filters.plan)
    if filters.model is not None and hasattr(table, "model"):
        found.append(table.model == filters.model)
    return found


def _local_day(days: DayRange) -> Any:
    offsets = days.offsets()
    if len(offsets) == 1:
        offset: Any = literal(offsets[0][1], Integer)
    else:
        later = reversed(offsets[1:])
        offset = case(*((SystemUsage.slot >= slot, value) for slot, value in later), else_=offsets[0][1])
    return (SystemUsage.slot + offset) // literal(_SLOTS_A_DAY, Integer)


def _months(days: DayRange) -> list[tuple[date, int]]:
    month, found = days.first.replace(day=1), []
    while month <= days.last:
        found.append((month, day_bits(month, days.first, days.last)))
        month = _next(month)
    return found


def _whole_months(days: DayRange) -> list[date]:
    months = [month for month, _ in _months(days)]
    return [each for each in months if days.first <= each and _next(each) <= days.last + timedelta(days=1)]


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _first_id(instant: datetime) -> UUID:
    return UUID(int=int(instant.timestamp() * 1000) << 80)
