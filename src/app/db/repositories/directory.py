"""Accounts as an operator looks through them: with the subscription and what the current period used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound
from app.db.models import MonthlyUsageQuota, Subscription, User


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account; ``usage`` is ``None`` before the period's first turn."""

    user: User
    subscription: Subscription | None
    usage: MonthlyUsageQuota | None


class Directory:
    """Reads ``users`` with what belongs to them, for operators."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_page(
        self, *, limit: int, before: UUID | None, email_part: str, now: datetime
    ) -> Sequence[AccountRow]:
        """At most ``limit`` accounts older than ``before``, newest first, whose address holds ``email_part``."""
        query = _accounts(now).order_by(User.id.desc()).limit(limit)
        if before is not None:
            query = query.where(User.id < before)
        if email_part:
            query = query.where(User.email.contains(email_part, autoescape=True))
        return [AccountRow(*row) for row in (await self._session.execute(query)).all()]

    async def require(self, user_id: UUID, *, now: datetime) -> AccountRow:
        """One account; raises :class:`NotFound`."""
        row = (await self._session.execute(_accounts(now).where(User.id == user_id))).first()
        if row is None:
            raise NotFound(f"No account {str(user_id)!r}.")
        return AccountRow(*row)


def _accounts(now: datetime) -> Select[User, Subscription, MonthlyUsageQuota]:
    current = and_(
        MonthlyUsageQuota.user_id == User.id,
        MonthlyUsageQuota.period_start <= now,
        MonthlyUsageQuota.period_end > now,
    )
    return (
        select(User, Subscription, MonthlyUsageQuota)
        .outerjoin(Subscription, Subscription.user_id == User.id)
        .outerjoin(MonthlyUsageQuota, current)
    )
