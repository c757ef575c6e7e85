"""The month's counters and the leases running turns hold on them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import MonthlyUsageQuota, QuotaLease
from app.db.repositories.dialect import insert_or
from app.domain.periods import Period
from app.domain.quotas import Amounts


@dataclass(frozen=True, slots=True)
class Counters:
    """What was used of a month, by column of ``monthly_usage_quotas``."""

    messages_used: int
    tokens_used: int
    images_used: int
    cost_usd: Decimal
    cache_savings_usd: Decimal


class Quotas:
    """Reads and writes ``monthly_usage_quotas`` and ``quota_leases``. Counters change by increments only."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock_period(self, user_id: UUID, period: Period) -> MonthlyUsageQuota:
        """The period's counters, made if missing, locked until this transaction ends: leases are taken one by one."""
        statement = insert_or(self._session, MonthlyUsageQuota).values(
            user_id=user_id,
            period_start=period.start,
            period_end=period.end,
            messages_used=0,
            tokens_used=0,
            images_used=0,
            cost_usd=Decimal(0),
            cache_savings_usd=Decimal(0),
        )
        statement = statement.on_conflict_do_update(
            index_elements=["user_id", "period_start"], set_={"period_end": statement.excluded.period_end}
        ).returning(MonthlyUsageQuota)
        counters: MonthlyUsageQuota = (
            await self._session.scalars(statement, execution_options={"populate_existing": True})
        ).one()
        return counters

    async def get_period(self, user_id: UUID, period: Period) -> MonthlyUsageQuota | None:
        """The period's counters; ``None`` before its first turn."""
        return await self._session.get(MonthlyUsageQuota, (user_id, period.start))

    async def held(self, user_id: UUID, period: Period, *, now: datetime) -> Amounts:
        """What running turns hold in this period. Expired leases count for nothing."""
        total = func.coalesce
        query = select(
            total(func.sum(QuotaLease.messages), 0),
            total(func.sum(QuotaLease.tokens), 0),
            total(func.sum(QuotaLease.images), 0),
            func.sum(QuotaLease.cost_usd),
        ).where(
            QuotaLease.user_id == user_id,
            QuotaLease.state == "held",
            QuotaLease.expires_at > now,
            QuotaLease.period_start == period.start,
        )
        messages, tokens, images, cost = (await self._session.execute(query)).one()
        return Amounts(messages=int(messages), tokens=int(tokens), images=int(images), cost_usd=cost or Decimal(0))

    async def hold(self, values: Mapping[str, Any]) -> None:
        """Write a lease. The caller holds the period's lock and has checked that the amounts fit."""
        await self._session.execute(insert(QuotaLease).values(**values))

    async def end_lease(self, user_id: UUID, lease_id: UUID, *, state: str, was: str = "held") -> bool:
        """Take a lease from one state to its last; false if it was not in that state any more."""
        ended = await self._session.execute(
            update(QuotaLease)
            .where(QuotaLease.user_id == user_id, QuotaLease.id == lease_id, QuotaLease.state == was)
            .values(state=state)
            .returning(QuotaLease.id)
            .execution_options(synchronize_session=False)
        )
        return ended.first() is not None

    async def extend_leases(self, leases: Collection[tuple[UUID, UUID]], *, now: datetime, until: datetime) -> None:
        """Let these held leases (user, lease) live on. One that ran out stays so: its room may be taken by now."""
        await self._session.execute(
            update(QuotaLease)
            .where(
                tuple_(QuotaLease.user_id, QuotaLease.id).in_(leases),
                QuotaLease.state == "held",
                QuotaLease.expires_at > now,
            )
            .values(expires_at=until)
            .execution_options(synchronize_session=False)
        )

    async def list_expired(self, *, now: datetime, limit: int) -> Sequence[QuotaLease]:
        """Held leases whose time is over, the oldest first: their processes died."""
        query = (
            select(QuotaLease)
            .where(QuotaLease.state == "held", QuotaLease.expires_at <= now)
            .order_by(QuotaLease.expires_at)
            .limit(limit)
        )
        return (await self._session.scalars(query)).all()

    async def list_held(self, *, limit: int) -> Sequence[QuotaLease]:
        """Leases of running turns, and of dead ones not yet swept."""
        query = select(QuotaLease).where(QuotaLease.state == "held").order_by(QuotaLease.expires_at).limit(limit)
        return (await self._session.scalars(query)).all()

    async def charge(
        self, user_id: UUID, period_start: datetime, amounts: Amounts, *, cache_savings_usd: Decimal
    ) -> None:
        """Add what a turn used to its period's counters."""
        await self._session.execute(
            update(MonthlyUsageQuota)
            .where(MonthlyUsageQuota.user_id == user_id, MonthlyUsageQuota.period_start == period_start)
            .values(
                messages_used=MonthlyUsageQuota.messages_used + amounts.messages,
                tokens_used=MonthlyUsageQuota.tokens_used + amounts.tokens,
                images_used=MonthlyUsageQuota.images_used + amounts.images,
                cost_usd=MonthlyUsageQuota.cost_usd + amounts.cost_usd,
                cache_savings_usd=MonthlyUsageQuota.cache_savings_usd + cache_savings_usd,
            )
            .execution_options(synchronize_session=False)
        )
