"""Plans and subscriptions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, and_, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import InvalidField, NotFound, ServiceUnavailable
from app.core.ids import new_id
from app.db.models import PlanLimitsRow, PlanOverride, Subscription
from app.domain.lifecycle import DatedPlan, PlanVersion, Standing, SubscriptionStatus
from app.domain.overrides import OVERRIDABLE, Override, read_value
from app.domain.plans import PlanLimits, PlanTier
from app.domain.terms import Terms

_NAMES = [field.name for field in fields(PlanLimits)]
_LIMIT_COLUMNS = [getattr(PlanLimitsRow, name) for name in _NAMES]
_STANDING_COLUMNS = [
    Subscription.plan,
    Subscription.plan_version,
    Subscription.anchor_at,
    Subscription.next_plan,
    Subscription.next_plan_version,
    Subscription.next_plan_at,
    Subscription.requested_plan,
    Subscription.requested_plan_version,
    Subscription.requested_at,
    Subscription.cancel_reason,
]
TERMS_COLUMNS = (
    *_STANDING_COLUMNS,
    PlanLimitsRow.version,
    *(column.label(f"limit_{column.key}") for column in _LIMIT_COLUMNS),
    PlanOverride.name,
    PlanOverride.value,
    PlanOverride.expires_at,
)
"""What :func:`terms_of` reads. The plan limits are joined by :data:`NAMES_PLAN`."""
NAMES_PLAN = or_(
    and_(PlanLimitsRow.plan == Subscription.plan, PlanLimitsRow.version == Subscription.plan_version),
    and_(PlanLimitsRow.plan == Subscription.next_plan, PlanLimitsRow.version == Subscription.next_plan_version),
)
_TERMS = (
    select(*TERMS_COLUMNS)
    .join(PlanLimitsRow, NAMES_PLAN)
    .outerjoin(PlanOverride, PlanOverride.user_id == Subscription.user_id)
    .where(Subscription.user_id == bindparam("user_id", type_=Uuid()))
)


@dataclass(frozen=True, slots=True)
class CurrentPlan:
    """What an account may do now: the limits in force, and the anchor of its billing months."""

    limits: PlanLimits
    anchor_at: datetime


class Subscriptions:
    """Reads and writes ``subscriptions`` and ``plan_limits``; reads ``plan_overrides``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def subscribe(self, user_id: UUID, plan: PlanTier, *, now: datetime) -> Subscription:
        """Put an account that has no subscription on the newest version of ``plan``, its months counted from now."""
        subscription = Subscription(
            user_id=user_id,
            id=new_id(),
            plan=plan,
            plan_version=(await self.require_version(plan)).version,
            status=SubscriptionStatus.ACTIVE.value,
            anchor_at=now,
            created_at=now,
            updated_at=now,
        )
        self._session.add(subscription)
        return subscription

    async def require(self, user_id: UUID, *, for_update: bool = False) -> Subscription:
        """The account's subscription; raises :class:`NotFound`. ``for_update`` lets changes come one after another."""
        query = select(Subscription).where(Subscription.user_id == user_id)
        if for_update:
            query = query.with_for_update()
        subscription: Subscription | None = await self._session.scalar(query)
        if subscription is None:
            raise NotFound("This account has no subscription.")
        return subscription

    async def require_terms(self, user_id: UUID) -> Terms:
        """Subscription, the plans it names and what was agreed, in one statement; raises :class:`NotFound`."""
        rows = (await self._session.execute(_TERMS, {"user_id": user_id})).all()
        if not rows:
            raise NotFound("This account has no subscription.")
        return terms_of(rows)

    async def require_plan(self, user_id: UUID, *, now: datetime) -> CurrentPlan:
        """The limits an account lives under at ``now``, in one statement."""
        return current_plan(await self.require_terms(user_id), now)

    async def require_version(self, plan: PlanTier, version: int | None = None) -> PlanLimitsRow:
        """A plan in a version, the newest if none is named; raises ``InvalidField`` for one never sold."""
        query = select(PlanLimitsRow).where(PlanLimitsRow.plan == plan)
        if version is not None:
            query = query.where(PlanLimitsRow.version == version)
        row: PlanLimitsRow | None = await self._session.scalar(query.order_by(PlanLimitsRow.version.desc()).limit(1))
        if row is None and version is not None:
            raise InvalidField("version", f"the plan {plan.value!r} has no version {version}.")
        if row is None:
            raise ServiceUnavailable(
                f"The plan {plan.value!r} is not in the database: run scripts/seed_plan_limits.py."
            )
        return row

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


def current_plan(terms: Terms, now: datetime) -> CurrentPlan:
    """What the terms come to at ``now``."""
    return CurrentPlan(limits=terms.limits_at(now), anchor_at=terms.standing.anchor_at)


def terms_of(rows: Sequence[Any]) -> Terms:
    """Subscription, plans and overrides, from the rows that their join gave."""
    return Terms(standing_of(rows[0]), dict(map(_sold, rows)), tuple(_agreed(rows)))


def plan_limits_of(row: PlanLimitsRow) -> PlanLimits:
    """The row as the domain knows it."""
    return PlanLimits(**{name: getattr(row, name) for name in _NAMES})


def standing_of(row: Any) -> Standing:
    """What a subscription's row, or a row with its columns, says."""
    return Standing(
        on=PlanVersion(row.plan, row.plan_version),
        anchor_at=row.anchor_at,
        scheduled=_dated(row.next_plan, row.next_plan_version, row.next_plan_at),
        requested=_dated(row.requested_plan, row.requested_plan_version, row.requested_at),
        cancel_reason=row.cancel_reason,
    )


def write_standing(row: Subscription, standing: Standing, *, now: datetime) -> None:
    """Make the row say ``standing``. Its anchor stays."""
    row.plan, row.plan_version = standing.on.plan, standing.on.version
    row.next_plan, row.next_plan_version, row.next_plan_at = _columns(standing.scheduled)
    row.requested_plan, row.requested_plan_version, row.requested_at = _columns(standing.requested)
    row.status = standing.status.value
    row.cancel_at = row.next_plan_at if standing.status is SubscriptionStatus.CANCELLING else None
    row.cancel_reason = standing.cancel_reason
    row.updated_at = now


def _dated(plan: PlanTier | None, version: int | None, at: datetime | None) -> DatedPlan | None:
    # The three are there together or not at all: a CHECK says so.
    return DatedPlan(PlanVersion(plan, version), at) if plan and version and at else None


def _columns(change: DatedPlan | None) -> tuple[PlanTier, int, datetime] | tuple[None, None, None]:
    return (change.plan, change.version, change.at) if change else (None, None, None)


def _sold(row: Any) -> tuple[PlanVersion, PlanLimits]:
    limits = PlanLimits(**{name: getattr(row, f"limit_{name}") for name in _NAMES})
    return PlanVersion(limits.plan, row.version), limits


def _agreed(rows: Sequence[Any]) -> list[Override]:
    found = {row.name: row for row in rows if row.name in OVERRIDABLE}
    return [Override(name, read_value(name, row.value), row.expires_at) for name, row in sorted(found.items())]
