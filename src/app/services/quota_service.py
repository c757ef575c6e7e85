"""Reserve, settle, release: what a turn may use is held before it runs and charged by what was billed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from app.core.config import Settings, get_settings
from app.core.errors import QuotaExceeded
from app.core.ids import new_id
from app.db.models import MonthlyUsageQuota
from app.db.repositories.subscriptions import CurrentPlan
from app.db.unit_of_work import UnitOfWork
from app.domain.periods import Period, period_containing
from app.domain.plans import PlanLimits, PlanTier
from app.domain.quotas import Allowance, Meter, Reservation


@dataclass(frozen=True, slots=True)
class Lease:
    """What a running turn holds, and the period it will be charged to."""

    id: UUID
    user_id: UUID
    plan: PlanTier
    period: Period


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledCall:
    """One upstream call that was billed, as the ledger keeps it. Unknown money is ``None``, never 0."""

    attempt_id: UUID
    kind: str
    message_id: UUID | None
    model: str
    provider: str | None
    generation_id: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens_read: int
    cached_tokens_write: int
    cost_usd: Decimal | None
    cache_discount_usd: Decimal | None
    messages: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class UsageOfPeriod:
    """What one account used and holds in its current period."""

    period: Period
    allowances: tuple[Allowance, ...]
    cost_usd: Decimal
    cache_savings_usd: Decimal


class QuotaService:
    """Works inside the caller's transaction: a turn's rows and its money change together or not at all."""

    def __init__(self, *, settings: Callable[[], Settings]) -> None:
        self._settings = settings

    async def reserve(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        plan: CurrentPlan,
        amounts: Reservation,
        *,
        now: datetime,
        until: datetime,
    ) -> Lease:
        """Hold ``amounts`` until ``until``, or raise :class:`QuotaExceeded`. Takes the period's lock."""
        period = period_containing(plan.anchor_at, now)
        counters = await uow.quotas.lock_period(user_id, period)
        held = await uow.quotas.held(user_id, period, now=now)
        messages = _allowances(plan.limits, counters, held)[0]
        if not messages.admits(amounts.messages):
            raise _exceeded(messages, period)
        lease = Lease(new_id(), user_id, plan.limits.plan, period)
        await uow.quotas.hold(user_id, lease.id, period, amounts, now=now, until=until)
        return lease

    async def settle(self, uow: UnitOfWork, lease: Lease, call: BilledCall, *, now: datetime) -> bool:
        """Charge what was billed, once: false if the lease had already ended. An expired lease still counts here."""
        if await uow.quotas.end_lease(lease.user_id, lease.id, state="settled") is None:
            return False
        used = Reservation(
            messages=call.messages,
            tokens=call.prompt_tokens + call.completion_tokens,
            images=call.images,
            cost_usd=call.cost_usd or Decimal(0),
        )
        savings = call.cache_discount_usd or Decimal(0)
        await uow.quotas.charge(lease.user_id, lease.period.start, used, cache_savings_usd=savings)
        await self._record(uow, lease, call, now=now)
        return True

    async def release(self, uow: UnitOfWork, lease: Lease) -> None:
        """Give back what a failed turn held."""
        await uow.quotas.end_lease(lease.user_id, lease.id, state="released")

    async def usage(self, uow: UnitOfWork, user_id: UUID, *, now: datetime) -> UsageOfPeriod:
        """What the account used in the period that holds ``now``."""
        plan = await uow.subscriptions.require_plan(user_id)
        period = period_containing(plan.anchor_at, now)
        counters = await uow.quotas.get_period(user_id, period)
        held = await uow.quotas.held(user_id, period, now=now)
        return UsageOfPeriod(
            period=period,
            allowances=_allowances(plan.limits, counters, held),
            cost_usd=counters.cost_usd if counters else Decimal(0),
            cache_savings_usd=counters.cache_savings_usd if counters else Decimal(0),
        )

    async def _record(self, uow: UnitOfWork, lease: Lease, call: BilledCall, *, now: datetime) -> None:
        counts = {
            "messages": call.messages,
            "images": call.images,
            "prompt_tokens": call.prompt_tokens,
            "completion_tokens": call.completion_tokens,
            "cached_tokens_read": call.cached_tokens_read,
            "cached_tokens_write": call.cached_tokens_write,
        }
        owner = {"user_id": lease.user_id, "plan": lease.plan, "model": call.model, "kind": call.kind}
        await uow.turns.add_usage_event(
            {
                **owner,
                **counts,
                "id": new_id(),
                "attempt_id": call.attempt_id,
                "message_id": call.message_id,
                "provider": call.provider,
                "generation_id": call.generation_id,
                "period_start": lease.period.start,
                "created_at": now,
                "cost_usd": call.cost_usd,
                "cache_discount_usd": call.cache_discount_usd,
            }
        )
        if self._settings().usage_tracking_enabled:
            sums = {
                "requests": 1,
                "cost_usd": call.cost_usd or Decimal(0),
                "cache_discount_usd": call.cache_discount_usd or Decimal(0),
            }
            await uow.turns.add_to_daily({**owner, **counts, **sums, "day": now.date()})


def _allowances(limits: PlanLimits, counters: MonthlyUsageQuota | None, held: Reservation) -> tuple[Allowance, ...]:
    return (
        Allowance(Meter.MESSAGES, limits.messages_per_month, counters.messages_used if counters else 0, held.messages),
        Allowance(Meter.TOKENS, limits.tokens_per_month, counters.tokens_used if counters else 0, held.tokens),
        Allowance(Meter.IMAGES, limits.images_per_month, counters.images_used if counters else 0, held.images),
    )


def _exceeded(allowance: Allowance, period: Period) -> QuotaExceeded:
    return QuotaExceeded(
        allowance.refusal,
        meter=allowance.meter.value,
        limit=allowance.limit,
        used=allowance.used,
        resets_at=period.end.isoformat(),
    )


quota_service = QuotaService(settings=get_settings)
