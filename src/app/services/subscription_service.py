"""Plans and subscriptions: what there is, what an account is on, what it has used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core.clock import Clock, utc_now
from app.db.database import Database, database
from app.db.models import PlanLimitsRow, Subscription
from app.domain.periods import Period, period_containing
from app.domain.plans import PLAN_LIMITS, PlanTier
from app.services.quota_service import QuotaService, UsageOfPeriod, quota_service


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """An account's subscription and the billing period it is in."""

    plan: PlanTier
    plan_version: int
    status: str
    since: datetime
    cancel_at: datetime | None
    period: Period


class SubscriptionService:
    """Use cases of ``/subscriptions`` and of the plan seed."""

    def __init__(
        self,
        *,
        database: Database,
        quotas: QuotaService,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._quotas = quotas
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
        return self._state(subscription)

    async def get(self, user_id: UUID) -> SubscriptionState:
        """The account's subscription; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            return self._state(await uow.subscriptions.require(user_id))

    async def usage(self, user_id: UUID) -> UsageOfPeriod:
        """What the account used and holds in its current period."""
        async with self._database.read_only() as uow:
            return await self._quotas.usage(uow, user_id, now=self._clock())

    async def aclose(self) -> None:
        """Close the database connections; a later call opens them anew."""
        await self._database.close()

    def _state(self, subscription: Subscription) -> SubscriptionState:
        return SubscriptionState(
            plan=subscription.plan,
            plan_version=subscription.plan_version,
            status=subscription.status,
            since=subscription.created_at,
            cancel_at=subscription.cancel_at,
            period=period_containing(subscription.anchor_at, self._clock()),
        )


subscription_service = SubscriptionService(database=database, quotas=quota_service)
