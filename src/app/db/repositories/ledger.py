"""The ledger's lines and the sums that follow from them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import MonthlyUsageQuota, UsageDaily, UsageEvent
from app.domain.ledger import DayKey, LedgerLine, MonthKey

_LINE_COLUMNS = [getattr(UsageEvent, each.name) for each in fields(LedgerLine)]
_MONTH_COLUMNS = ("messages_used", "tokens_used", "images_used", "cost_usd", "cache_savings_usd")
_DAY_KEY = ("user_id", "day", "model", "plan", "kind")
_DAY_COLUMNS = (
    "requests",
    "messages",
    "images",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens_read",
    "cached_tokens_write",
    "cost_usd",
    "cache_discount_usd",
)


class Ledger:
    """Reads ``usage_events``; reads and rewrites ``monthly_usage_quotas`` and ``usage_daily``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_users(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Accounts that have lines or sums, in the order of their ids."""
        tables = (UsageEvent.user_id, UsageDaily.user_id, MonthlyUsageQuota.user_id)
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
            (row.user_id, row.day, row.model, row.plan.value, row.kind): {
                name: getattr(row, name) for name in _DAY_COLUMNS
            }
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

    async def rewrite_days(self, user_id: UUID, days: Mapping[DayKey, Mapping[str, Any]]) -> None:
        """Replace all daily sums of one account."""
        await self._session.execute(delete(UsageDaily).where(UsageDaily.user_id == user_id))
        rows = [dict(zip(_DAY_KEY, key, strict=True)) | dict(sums) for key, sums in days.items()]
        if rows:
            await self._session.execute(insert(UsageDaily), rows)
