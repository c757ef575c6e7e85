"""The ledger's lines and the sums that follow from them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import MonthlyUsageQuota, UsageDaily, UsageEvent, UsageMonthly
from app.domain.ledger import DAILY_KEY, MONTH_KEY, USAGE, CalendarKey, DayKey, LedgerLine, MonthKey, Projection

_LINE_COLUMNS = [getattr(UsageEvent, each.name) for each in fields(LedgerLine)]
_MONTH_COLUMNS = ("messages_used", "tokens_used", "images_used", "cost_usd", "cache_savings_usd")


class Ledger:
    """Reads ``usage_events``; reads and rewrites ``monthly_usage_quotas`` and an account's sums."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_users(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Accounts that have lines or sums, in the order of their ids."""
        tables = (UsageEvent.user_id, UsageDaily.user_id, UsageMonthly.user_id, MonthlyUsageQuota.user_id)
        found: set[UUID] = set()
        for column in tables:
            query = select(column).distinct().order_by(column).limit(limit)
            if after is not None:
                query = query.where(column > after)
            found.update((await self._session.scalars(query)).all())
        return sorted(found)[:limit]

    async def get_spent(self, kind: str, day: date) -> Decimal:
        """What all accounts' lines of a kind cost on a UTC day, in USD; kept only while daily sums are."""
        query = select(func.sum(UsageDaily.cost_usd)).where(UsageDaily.day == day, UsageDaily.kind == kind)
        return (await self._session.scalar(query)) or Decimal(0)

    async def list_lines(self, user_id: UUID) -> list[LedgerLine]:
        """All lines of one account."""
        rows = await self._session.execute(select(*_LINE_COLUMNS).where(UsageEvent.user_id == user_id))
        names = [each.name for each in fields(LedgerLine)]
        return [LedgerLine(**dict(zip(names, row, strict=True))) for row in rows]

    async def get_months(self, user_id: UUID, *, lock: bool = False) -> dict[MonthKey, dict[str, Any]]:
        """The stored counters of one account; locked, no turn of it settles until this transaction ends."""
        query = select(MonthlyUsageQuota).where(MonthlyUsageQuota.user_id == user_id)
        rows = await self._session.scalars(query.with_for_update() if lock else query)
        return {(row.user_id, row.period_start): {name: getattr(row, name) for name in _MONTH_COLUMNS} for row in rows}

    async def get_days(self, user_id: UUID) -> dict[DayKey, dict[str, Any]]:
        """The stored daily sums of one account."""
        rows = await self._session.scalars(select(UsageDaily).where(UsageDaily.user_id == user_id))
        return {
            (row.user_id, row.day, row.model, row.plan.value, row.kind): {name: getattr(row, name) for name in USAGE}
            for row in rows
        }

    async def get_calendar(self, user_id: UUID) -> dict[CalendarKey, dict[str, Any]]:
        """The stored sums of one account's calendar months."""
        rows = await self._session.scalars(select(UsageMonthly).where(UsageMonthly.user_id == user_id))
        return {
            (row.user_id, row.month, row.plan.value): {name: getattr(row, name) for name in ("active_days", *USAGE)}
            for row in rows
        }

    async def rewrite_month(self, key: MonthKey, sums: Mapping[str, Any]) -> None:
        """Set a month's counters; a month nobody opened stays unopened."""
        user_id, start = key
        await self._session.execute(
            update(MonthlyUsageQuota)
            .where(MonthlyUsageQuota.user_id == user_id, MonthlyUsageQuota.period_start == start)
            .values(**(dict.fromkeys(_MONTH_COLUMNS, 0) | dict(sums)))
            .execution_options(synchronize_session=False)
        )

    async def rewrite_sums(self, user_id: UUID, projection: Projection) -> None:
        """Replace all daily and monthly sums of one account."""
        sums: tuple[tuple[type[Any], tuple[str, ...], Mapping[Any, Mapping[str, Any]]], ...] = (
            (UsageDaily, DAILY_KEY, projection.days),
            (UsageMonthly, MONTH_KEY, projection.calendar),
        )
        for table, key, found in sums:
            await self._session.execute(delete(table).where(table.user_id == user_id))
            rows = [dict(zip(key, each, strict=True)) | dict(amounts) for each, amounts in found.items()]
            if rows:
                await self._session.execute(insert(table), rows)
