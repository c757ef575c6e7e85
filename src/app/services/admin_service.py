"""What operators see and agree with single customers. Each deed, and each look at a person's data, is audited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.clock import Clock, utc_now
from app.core.errors import InvalidField, NotFound
from app.db.database import Database, database
from app.db.models import AuditEntry, MonthlyUsageQuota, PlanOverride, Subscription
from app.db.repositories.directory import AccountRow
from app.db.repositories.subscriptions import standing_of
from app.db.unit_of_work import UnitOfWork
from app.domain.audit import Action, Actor
from app.domain.lifecycle import DatedPlan, SubscriptionStatus, standing_at
from app.domain.overrides import LimitValue, read_value
from app.domain.periods import Period, period_containing
from app.domain.plans import PlanLimits, PlanTier
from app.domain.principal import Role


@dataclass(frozen=True, slots=True)
class UsedOfPeriod:
    """What an account used in its current period; cost is USD."""

    messages: int
    tokens: int
    images: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class AccountSubscription:
    """What an account is on, and what it used in its current period."""

    plan: PlanTier
    plan_version: int
    status: SubscriptionStatus
    period: Period
    scheduled: DatedPlan | None
    requested: DatedPlan | None
    cancel_reason: str | None
    used: UsedOfPeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account as an operator sees it in the list."""

    id: UUID
    email: str
    full_name: str | None
    role: Role
    is_active: bool
    created_at: datetime
    subscription: AccountSubscription | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDetail(Account):
    """One account with the limits in force and what was agreed (expired overrides too)."""

    limits: PlanLimits
    overrides: Sequence[PlanOverride]


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Some accounts, newest first; ``next_cursor`` is ``None`` on the last page."""

    items: Sequence[Account]
    next_cursor: UUID | None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first; ``next_cursor`` is ``None`` on the last page."""

    items: Sequence[AuditEntry]
    next_cursor: UUID | None


class AdminService:
    """Use cases of ``/admin`` and of the command line's ``users``, but for the plan itself."""

    def __init__(self, *, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def list_users(self, actor: Actor, *, limit: int, cursor: UUID | None = None, email: str = "") -> AccountPage:
        """A page of accounts whose address holds ``email``: two statements, however many there are."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            found = await uow.directory.list_page(
                limit=limit + 1, before=cursor, email_part=email.strip().lower(), now=now
            )
            items = [Account(**_fields(row, now)) for row in found[:limit]]
            seen = {"email": email, "users": [str(each.id) for each in items]}
            await uow.audit.record(actor, Action.LIST_USERS, now=now, after=seen)
            await uow.commit()
        return AccountPage(items, items[-1].id if len(found) > limit else None)

    async def get_user(self, actor: Actor, user_id: UUID) -> AccountDetail:
        """One account with everything about its plan; raises ``NotFound``."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            detail = await self._detail(uow, user_id, now)
            await uow.audit.record(actor, Action.READ_USER, now=now, user_id=user_id)
            await uow.commit()
        return detail

    async def find_user(self, email: str) -> UUID:
        """The id behind an address, for the command line; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            user = await uow.accounts.get_by_email(email.strip().lower())
        if user is None:
            raise NotFound(f"No account for {email!r}.")
        return user.id

    async def set_overrides(
        self, actor: Actor, user_id: UUID, values: Mapping[str, object], *, reason: str, expires_at: datetime | None
    ) -> AccountDetail:
        """Agree on limits in place of the plan's; other overrides stay. Raises ``InvalidField`` or ``NotFound``."""
        now = self._clock()
        if expires_at is not None and expires_at <= now:
            raise InvalidField("expires_at", "must lie in the future.")
        read = {name: _read(name, raw) for name, raw in values.items()}
        async with self._database.unit_of_work() as uow:
            before = await self._lock_overrides(uow, user_id)
            await uow.overrides.put(user_id, read, reason=reason, expires_at=expires_at, now=now)
            await self._audit(uow, actor, Action.SET_OVERRIDES, user_id, before, now=now, reason=reason)
            detail = await self._detail(uow, user_id, now)
            await uow.commit()
        return detail

    async def remove_override(self, actor: Actor, user_id: UUID, name: str) -> None:
        """Let the plan's own limit hold again; raises ``NotFound`` if none was agreed."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            before = await self._lock_overrides(uow, user_id)
            if not await uow.overrides.remove(user_id, name):
                raise NotFound(f"No override {name!r}.")
            await self._audit(uow, actor, Action.REMOVE_OVERRIDE, user_id, before, now=now)
            await uow.commit()

    async def list_audit(
        self, actor: Actor, *, limit: int, cursor: UUID | None = None, user_id: UUID | None = None
    ) -> AuditPage:
        """A page of the audit log; of one account if ``user_id`` is given. Reading it stands in it, too."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            found = await uow.audit.list_page(limit=limit + 1, before=cursor, user_id=user_id)
            await uow.audit.record(actor, Action.LIST_AUDIT, now=now, user_id=user_id)
            await uow.commit()
        return AuditPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def aclose(self) -> None:
        """Close the database connections; a later call opens them anew."""
        await self._database.close()

    async def _detail(self, uow: UnitOfWork, user_id: UUID, now: datetime) -> AccountDetail:
        row = await uow.directory.require(user_id, now=now)
        terms = await uow.subscriptions.require_terms(user_id)
        overrides = await uow.overrides.list_rows(user_id)
        return AccountDetail(**_fields(row, now), limits=terms.limits_at(now), overrides=overrides)

    async def _lock_overrides(self, uow: UnitOfWork, user_id: UUID) -> dict[str, Any]:
        # The subscription's lock orders changes, so that "before" in the audit log is what this one replaced.
        await uow.subscriptions.require(user_id, for_update=True)
        return await _record_of_overrides(uow, user_id)

    async def _audit(
        self,
        uow: UnitOfWork,
        actor: Actor,
        action: Action,
        user_id: UUID,
        before: dict[str, Any],
        *,
        now: datetime,
        reason: str | None = None,
    ) -> None:
        after = await _record_of_overrides(uow, user_id)
        await uow.audit.record(actor, action, now=now, user_id=user_id, before=before, after=after, reason=reason)


def _read(name: str, raw: object) -> LimitValue:
    try:
        return read_value(name, raw)
    except ValueError as error:
        raise InvalidField(f"limits.{name}", f"{error}.") from None


async def _record_of_overrides(uow: UnitOfWork, user_id: UUID) -> dict[str, Any]:
    return {
        row.name: {"value": row.value, "expires_at": row.expires_at.isoformat() if row.expires_at else None}
        for row in await uow.overrides.list_rows(user_id)
    }


def _fields(row: AccountRow, now: datetime) -> dict[str, Any]:
    user = row.user
    return {
        "id": user.id,
        "email": user.email,
        "full_name": user.full_name,
        "role": user.role,
        "is_active": user.is_active,
        "created_at": user.created_at,
        "subscription": _subscription(row.subscription, _used(row.usage), now) if row.subscription else None,
    }


def _used(counters: MonthlyUsageQuota | None) -> UsedOfPeriod:
    if counters is None:
        return UsedOfPeriod(0, 0, 0, Decimal(0))
    return UsedOfPeriod(counters.messages_used, counters.tokens_used, counters.images_used, counters.cost_usd)


def _subscription(row: Subscription, used: UsedOfPeriod, now: datetime) -> AccountSubscription:
    standing = standing_at(standing_of(row), now)
    return AccountSubscription(
        plan=standing.on.plan,
        plan_version=standing.on.version,
        status=standing.status,
        period=period_containing(standing.anchor_at, now),
        scheduled=standing.scheduled,
        requested=standing.requested,
        cancel_reason=standing.cancel_reason,
        used=used,
    )


admin_service = AdminService(database=database)
