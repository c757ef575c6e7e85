"""Plans and subscriptions: what there is, what an account is on, what it has used, and how it changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import Conflict
from app.db.database import Database, database
from app.db.models import PlanLimitsRow, Subscription
from app.db.repositories.subscriptions import plan_limits_of, standing_of
from app.db.unit_of_work import UnitOfWork
from app.domain import lifecycle
from app.domain.audit import Action, Actor
from app.domain.entitlements import LIMIT_NAMES, Count, Entitlement, Explanation, explain_count, explain_feature
from app.domain.features import Feature
from app.domain.lifecycle import DatedPlan, Standing, SubscriptionStatus, standing_at
from app.domain.overrides import apply_overrides
from app.domain.periods import Period, period_containing
from app.domain.plan_comparison import LimitChange, OverLimit, compare, find_over_limit
from app.domain.plans import PLAN_LIMITS, PlanTier
from app.services.plan_change_confirmation import (
    NextStep,
    OperatorConfirmation,
    PlanChangeConfirmation,
    RequestedUpgrade,
)
from app.services.plan_gates import is_switched_on
from app.services.quota_service import QuotaService, UsageOfPeriod, quota_service
from app.services.standing_change import StandingChange


class NothingToCancel(Conflict):
    """The Free plan costs nothing and has no end."""

    code = "nothing_to_cancel"


class NothingToResume(Conflict):
    """Nothing is scheduled or asked for that could be taken back."""

    code = "nothing_to_resume"


class AlreadyOnPlan(Conflict):
    """A change to the plan one is on."""

    code = "already_on_plan"


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """How a subscription stands, and the billing period it is in. ``requested`` waits for a confirmation."""

    plan: PlanTier
    plan_version: int
    status: SubscriptionStatus
    since: datetime
    cancel_at: datetime | None
    cancel_reason: str | None
    period: Period
    scheduled: DatedPlan | None
    requested: DatedPlan | None


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """The subscription after a wish to change; ``confirmation`` is the step an upgrade still needs."""

    state: SubscriptionState
    confirmation: NextStep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePreview:
    """What a change would bring. ``takes_effect_at`` is ``None`` for an upgrade: as soon as it is confirmed."""

    kind: Literal["upgrade", "downgrade", "cancellation"]
    plan: PlanTier
    version: int
    takes_effect_at: datetime | None
    price_usd_per_month: Decimal
    price_now_usd_per_month: Decimal
    limits: Sequence[LimitChange]
    over_limit: Sequence[OverLimit]


class SubscriptionService:
    """Use cases of ``/subscriptions`` and of the plan seed."""

    def __init__(
        self,
        *,
        database: Database,
        quotas: QuotaService,
        settings: Callable[[], Settings] = get_settings,
        confirmation: PlanChangeConfirmation | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._quotas = quotas
        self._settings = settings
        self._confirmation = confirmation or OperatorConfirmation()
        self._clock = clock

    async def seed_plans(self) -> Sequence[PlanTier]:
        """Publish every plan whose limits changed as a new version; the plans written. Twice writes nothing."""
        async with self._database.unit_of_work() as uow:
            now = self._clock()
            written = [each.plan for each in PLAN_LIMITS if await uow.subscriptions.publish_plan(each, now=now)]
            await uow.commit()
        return written

    async def list_plans(self) -> Sequence[PlanLimitsRow]:
        """The plans on sale, cheapest first."""
        async with self._database.read_only() as uow:
            return await uow.subscriptions.list_plans()

    async def create(self, user_id: UUID, plan: PlanTier) -> SubscriptionState:
        """Subscribe an account that has no subscription yet to the newest version of ``plan``."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            subscription = await uow.subscriptions.subscribe(user_id, plan, now=now)
            await uow.commit()
        return _state(subscription, now)

    async def get(self, user_id: UUID) -> SubscriptionState:
        """The account's subscription; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            return _state(await uow.subscriptions.require(user_id), self._clock())

    async def usage(self, user_id: UUID) -> UsageOfPeriod:
        """What the account used and holds in its current period."""
        async with self._database.read_only() as uow:
            return await self._quotas.usage(uow, user_id, now=self._clock())

    async def cancel(self, actor: Actor, user_id: UUID, *, reason: str | None = None) -> SubscriptionState:
        """Let a paid plan end with its period. Said twice, it ends once; a new reason takes the place of the old."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            change = await StandingChange.open(uow, user_id, now=now)
            standing = change.standing
            if standing.on.plan is PlanTier.FREE:
                raise NothingToCancel("You are on the Free plan: there is nothing to cancel.")
            if standing.status is SubscriptionStatus.CANCELLING:
                after = replace(standing, requested=None, cancel_reason=reason or standing.cancel_reason)
            else:
                after = lifecycle.schedule(standing, await change.find(PlanTier.FREE), now=now, reason=reason)
            await change.write(after, Action.CANCEL, actor, reason=reason)
            return _state(change.row, now)

    async def resume(self, actor: Actor, user_id: UUID) -> SubscriptionState:
        """Stay on the present plan: take back what is scheduled and what was asked for."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            change = await StandingChange.open(uow, user_id, now=now)
            standing = change.standing
            if standing.on.plan is PlanTier.FREE and standing.requested is None:
                raise NothingToResume("You are on the Free plan and nothing is pending. To leave it, change the plan.")
            await change.write(lifecycle.keep(standing, now=now), Action.RESUME, actor)
            return _state(change.row, now)

    async def preview_change(self, user_id: UUID, plan: PlanTier) -> ChangePreview:
        """What a change to the newest version of ``plan`` would bring, and when. Changes nothing."""
        now = self._clock()
        async with self._database.read_only() as uow:
            terms = await uow.subscriptions.require_terms(user_id)
            standing = standing_at(terms.standing, now)
            _require_another(standing, plan)
            sold = await uow.subscriptions.require_version(plan)
            used = await self._used(uow, user_id, now)
        is_upgrade = standing.is_upgrade(plan)
        takes_effect_at = None if is_upgrade else period_containing(standing.anchor_at, now).end
        then = apply_overrides(plan_limits_of(sold), terms.overrides, takes_effect_at or now)
        return ChangePreview(
            kind="upgrade" if is_upgrade else "cancellation" if plan is PlanTier.FREE else "downgrade",
            plan=plan,
            version=sold.version,
            takes_effect_at=takes_effect_at,
            price_usd_per_month=sold.price_usd_per_month,
            price_now_usd_per_month=terms.plan_at(now).price_usd_per_month,
            limits=compare(terms.limits_at(now), then),
            over_limit=find_over_limit(used, then),
        )

    async def change(self, actor: Actor, user_id: UUID, plan: PlanTier) -> ChangeOutcome:
        """Move to another plan: down at the period's end, up once it is confirmed. Said twice, it changes once."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            change = await StandingChange.open(uow, user_id, now=now)
            standing = change.standing
            _require_another(standing, plan)
            if not standing.is_upgrade(plan):
                if standing.requested or standing.scheduled is None or standing.scheduled.plan is not plan:
                    standing = lifecycle.schedule(standing, await change.find(plan), now=now)
                await change.write(standing, Action.SCHEDULE, actor)
                return ChangeOutcome(_state(change.row, now))
            if standing.requested is None or standing.requested.plan is not plan:
                standing = lifecycle.request_upgrade(standing, await change.find(plan), now=now)
            assert standing.requested is not None  # noqa: S101  (requested just now, or before)
            wanted = await uow.subscriptions.require_version(plan, standing.requested.version)
            await change.write(standing, Action.REQUEST, actor)
        upgrade = RequestedUpgrade(user_id, plan, wanted.version, wanted.price_usd_per_month)
        return ChangeOutcome(_state(change.row, now), await self._confirmation.ask(upgrade))

    async def set_plan(
        self, actor: Actor, user_id: UUID, plan: PlanTier, *, version: int | None = None, reason: str
    ) -> SubscriptionState:
        """Put an account on a plan at once: confirms what was requested, or is an operator's own decision.

        Left out, ``version`` is the one that was requested, else the newest. Nothing stays scheduled or requested.
        """
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            change = await StandingChange.open(uow, user_id, now=now)
            requested = change.standing.requested
            if version is None and requested is not None and requested.plan is plan:
                version = requested.version
            after = lifecycle.put_on(change.standing, await change.find(plan, version), now=now)
            await change.write(after, Action.SET_PLAN, actor, reason=reason)
            return _state(change.row, now)

    async def explain(self, user_id: UUID, asked: Entitlement) -> Explanation:
        """Whether the account may, and what decides it."""
        now = self._clock()
        async with self._database.read_only() as uow:
            terms = await uow.subscriptions.require_terms(user_id)
            if asked in LIMIT_NAMES:
                return explain_count(asked, terms, await self._count(uow, user_id, asked, now), now)
        feature = Feature(asked.value)
        return explain_feature(feature, terms, now, switched_on=is_switched_on(feature, self._settings()))

    async def aclose(self) -> None:
        """Close the database connections; a later call opens them anew."""
        await self._database.close()

    async def _count(self, uow: UnitOfWork, user_id: UUID, asked: Entitlement, now: datetime) -> Count:
        if asked is Entitlement.PRESETS:
            return Count(Decimal(await uow.presets.count_owned(user_id)), Decimal(0), None)
        usage = await self._quotas.usage(uow, user_id, now=now)
        allowance = next(each for each in usage.balance if each.meter.value == asked.value)
        return Count(allowance.used, allowance.reserved, usage.period.end)

    async def _used(self, uow: UnitOfWork, user_id: UUID, now: datetime) -> dict[str, int | Decimal]:
        balance = (await self._quotas.usage(uow, user_id, now=now)).balance
        return {
            "messages_per_month": balance.messages.used,
            "tokens_per_month": balance.tokens.used,
            "images_per_month": balance.images.used,
            "max_presets": await uow.presets.count_owned(user_id),
        }


def _require_another(standing: Standing, plan: PlanTier) -> None:
    if plan is standing.on.plan:
        pending = standing.scheduled or standing.requested
        advice = " Resume it to stay there." if pending else " Choose another."
        raise AlreadyOnPlan(f"You are on the {plan.value.title()} plan.{advice}", plan=plan.value)


def _state(row: Subscription, now: datetime) -> SubscriptionState:
    standing = standing_at(standing_of(row), now)
    ends = standing.status is SubscriptionStatus.CANCELLING
    return SubscriptionState(
        plan=standing.on.plan,
        plan_version=standing.on.version,
        status=standing.status,
        since=row.created_at,
        cancel_at=standing.scheduled.at if standing.scheduled and ends else None,
        cancel_reason=standing.cancel_reason,
        period=period_containing(standing.anchor_at, now),
        scheduled=standing.scheduled,
        requested=standing.requested,
    )


subscription_service = SubscriptionService(database=database, quotas=quota_service)
