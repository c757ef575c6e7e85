"""Plans and subscriptions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound, ServiceUnavailable
from app.core.ids import new_id
from app.db.models import PlanLimitsRow, Subscription
from app.domain.plans import PlanLimits, PlanTier

_LIMIT_COLUMNS = [getattr(PlanLimitsRow, field.name) for field in fields(PlanLimits)]


@dataclass(frozen=True, slots=True)
class CurrentPlan:
    """What an account is on now: the limits of the version it bought, and the anchor of its billing months."""

    limits: PlanLimits
    anchor_at: datetime


class Subscriptions:
    """Reads and writes ``subscriptions`` and ``plan_limits``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def subscribe(self, user_id: UUID, plan: PlanTier, *, now: datetime) -> Subscription:
        """Put an account that has no subscription on the newest version of ``plan``, its months counted from now."""
        subscription = Subscription(
            user_id=user_id,
            id=new_id(),
            plan=plan,
            plan_version=await self._newest_version(plan),
            status="active",
            anchor_at=now,
            created_at=now,
            updated_at=now,
        )
        self._session.add(subscription)
        return subscription

    async def require(self, user_id: UUID) -> Subscription:
        """The account's subscription; raises :class:`NotFound`."""
        subscription: Subscription | None = await self._session.scalar(
            select(Subscription).where(Subscription.user_id == user_id)
        )
        if subscription is None:
            raise NotFound("This account has no subscription.")
        return subscription

    async def require_plan(self, user_id: UUID) -> CurrentPlan:
        """The limits an account lives under; raises :class:`NotFound`."""
        query = (
            select(Subscription.anchor_at, *_LIMIT_COLUMNS)
            .join(
                PlanLimitsRow,
                (PlanLimitsRow.plan == Subscription.plan) & (PlanLimitsRow.version == Subscription.plan_version),
            )
            .where(Subscription.user_id == user_id)
        )
        row = (await self._session.execute(query)).first()
        if row is None:
            raise NotFound("This account has no subscription.")
        return CurrentPlan(limits=PlanLimits(**dict(zip(_NAMES, row[1:], strict=True))), anchor_at=row.anchor_at)

    async def list_plans(self) -> Sequence[PlanLimitsRow]:
        """The newest version of each plan, cheapest first."""
        rows = await self._session.scalars(select(PlanLimitsRow).order_by(PlanLimitsRow.version))
        newest = {row.plan: row for row in rows}
        return sorted(newest.values(), key=lambda row: row.price_usd_per_month)

    async def publish_plan(self, limits: PlanLimits, *, now: datetime) -> bool:
        """Write ``limits`` as a new version unless the newest one says the same; true if it was written."""
        query = select(PlanLimitsRow).where(PlanLimitsRow.plan == limits.plan)
        newest: PlanLimitsRow | None = await self._session.scalar(query.order_by(PlanLimitsRow.version.desc()).limit(1))
        if newest is not None and plan_limits_of(newest) == limits:
            return False
        version = 1 if newest is None else newest.version + 1
        self._session.add(PlanLimitsRow(version=version, created_at=now, **asdict(limits)))
        return True

    async def _newest_version(self, plan: PlanTier) -> int:
        query = select(PlanLimitsRow.version).where(PlanLimitsRow.plan == plan)
        version = await self._session.scalar(query.order_by(PlanLimitsRow.version.desc()).limit(1))
        if version is None:
            raise ServiceUnavailable(
                f"The plan {plan.value!r} is not in the database: run scripts/seed_plan_limits.py."
            )
        return int(version)


_NAMES = [field.name for field in fields(PlanLimits)]


def plan_limits_of(row: PlanLimitsRow) -> PlanLimits:
    """The row as the domain knows it."""
    return PlanLimits(**{name: getattr(row, name) for name in _NAMES})
