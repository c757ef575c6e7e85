"""Reserve, settle, release: what a turn may use is held before it runs and charged by what was billed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.config import Settings, get_settings
from app.core.errors import QuotaExceeded
from app.core.ids import new_id
from app.db.models import MonthlyUsageQuota
from app.db.repositories.closings import Entries, MessageEnd
from app.db.repositories.openings import Means
from app.db.repositories.quotas import Counters
from app.db.repositories.subscriptions import CurrentPlan
from app.db.unit_of_work import UnitOfWork
from app.domain.ledger import (
    DAILY_KEY,
    HOUSE_KINDS,
    LATE_DISCOUNT,
    MONTH_KEY,
    monthly_row,
    requests_of,
    summed,
)
from app.domain.periods import Period, period_containing
from app.domain.plans import PlanLimits, PlanTier
from app.domain.quotas import (
    Allowance,
    Amounts,
    Balance,
    ImageAsk,
    Meter,
    TurnAsk,
    TurnGrant,
    grant_images,
    grant_turn,
)
from app.domain.rollups import SYSTEM_KEY, TALLY_KEY, AnswerFacts, answer_row, system_row, tally_rows

FIRST_LOOK_UP = timedelta(seconds=5)
"""A bill that did not come with the answer is asked for this long after: OpenRouter's records are written late."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a running turn holds, and the period it will be charged to."""

    id: UUID
    user_id: UUID
    message_id: UUID
    plan: PlanTier
    period: Period
    grant: TurnGrant


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledCall:
    """One upstream call that was billed, as the ledger keeps it. Unknown money is ``None``, never 0.

    ``messages`` and ``images`` count against the plan; a call the house pays for has neither.
    """

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
    discount_is_provisional: bool = False
    """The price list does not explain the bill: OpenRouter's record says what caching saved, when it is there."""
    messages: int = 0
    images: int = 0
    searches: int = 0

    @property
    def tokens(self) -> int:
        """Prompt plus completion."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def used(self) -> Amounts:
        """What it adds to its month."""
        cost = self.cost_usd or Decimal(0)
        return Amounts(messages=self.messages, tokens=self.tokens, images=self.images, cost_usd=cost)

    def used_with(self, fees: "Sequence[BilledCall]") -> Amounts:
        """What it and the services within it add to the month."""
        used = self.used
        return replace(used, cost_usd=used.cost_usd + sum((each.cost_usd or Decimal(0) for each in fees), Decimal(0)))

    def with_fee(self, kind: str, fee: Decimal, *, searches: int = 0) -> tuple["BilledCall", "BilledCall"]:
        """The call without what a service within it cost, and a line for that: together they are what was billed."""
        line = replace(
            self,
            kind=kind,
            prompt_tokens=0,
            completion_tokens=0,
            cached_tokens_read=0,
            cached_tokens_write=0,
            cost_usd=fee,
            cache_discount_usd=None,
            discount_is_provisional=False,
            messages=0,
            images=0,
            searches=searches,
        )
        return replace(self, cost_usd=(self.cost_usd or Decimal(0)) - fee), line

    @property
    def savings_usd(self) -> Decimal:
        """What caching saved, as far as it is certain."""
        return self.settled_discount_usd or Decimal(0)

    @property
    def bill_is_to_come(self) -> bool:
        """OpenRouter has not said what it cost, but can be asked."""
        return self.cost_usd is None and self.generation_id is not None

    @property
    def discount_is_to_come(self) -> bool:
        """The cost is known, but not what caching saved of it."""
        return self.discount_is_provisional and self.cost_usd is not None and self.generation_id is not None

    @property
    def settled_discount_usd(self) -> Decimal | None:
        """What caching saved where that is certain: the rest is counted with the record, once."""
        return None if self.bill_is_to_come or self.discount_is_to_come else self.cache_discount_usd

    @property
    def is_looked_up(self) -> bool:
        """Something of it is still to come."""
        return self.bill_is_to_come or self.discount_is_to_come

    @property
    def comes_with_its_bill(self) -> bool:
        """The ledger waits for the bill: nobody is charged for anything of it before."""
        return self.bill_is_to_come and self.kind in HOUSE_KINDS


@dataclass(frozen=True, slots=True)
class UsageOfPeriod:
    """What one account used and holds in its current period."""

    period: Period
    balance: Balance
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
        ask: TurnAsk | ImageAsk,
        *,
        message_id: UUID,
        model: str,
        now: datetime,
    ) -> Lease:
        """Hold what a turn or a picture asks for, or raise :class:`QuotaExceeded`. Takes the period's lock.

        The lease lives ``QUOTA_LEASE_SECONDS``; whoever runs the turn keeps it alive.
        """
        period = period_containing(plan.anchor_at, now)
        counters = await uow.quotas.lock_period(user_id, period)
        held = await uow.quotas.held(user_id, period, now=now)
        balance = _balance(plan.limits, counters, held)
        lease = self._grant(user_id, plan.limits.plan, period, balance, ask, message_id=message_id)
        await uow.quotas.hold(self.lease_row(lease, model=model, now=now))
        return lease

    def grant(self, user_id: UUID, means: Means, ask: TurnAsk, *, message_id: UUID) -> Lease:
        """What :meth:`reserve` would hold, by what was read before: nothing is locked, and nothing is held yet."""
        balance = _balance(means.plan.limits, means.counters, means.held)
        return self._grant(user_id, means.plan.limits.plan, means.period, balance, ask, message_id=message_id)

    def lease_row(self, lease: Lease, *, model: str, now: datetime) -> dict[str, Any]:
        """The row by which a lease is held from ``now`` on."""
        amounts = lease.grant.amounts
        return {
            "user_id": lease.user_id,
            "id": lease.id,
            "message_id": lease.message_id,
            "plan": lease.plan,
            "model": model,
            "period_start": lease.period.start,
            "state": "held",
            "messages": amounts.messages,
            "tokens": amounts.tokens,
            "images": amounts.images,
            "cost_usd": amounts.cost_usd,
            "created_at": now,
            "expires_at": self.lease_end(now),
        }

    def _grant(
        self,
        user_id: UUID,
        plan: PlanTier,
        period: Period,
        balance: Balance,
        ask: TurnAsk | ImageAsk,
        *,
        message_id: UUID,
    ) -> Lease:
        granted = grant_images(ask, balance) if isinstance(ask, ImageAsk) else grant_turn(ask, balance)
        if isinstance(granted, Allowance):
            raise _exceeded(granted, period)
        return Lease(new_id(), user_id, message_id, plan, period, granted)

    def lease_end(self, now: datetime) -> datetime:
        """Until when a lease taken or kept alive now holds."""
        return now + timedelta(seconds=self._settings().quota_lease_seconds)

    async def settle(
        self,
        uow: UnitOfWork,
        lease: Lease,
        call: BilledCall,
        *,
        fees: Sequence[BilledCall] = (),
        lost: Sequence[BilledCall] = (),
        facts: AnswerFacts | None = None,
        now: datetime,
    ) -> bool:
        """Charge what was billed, once: false if the lease had already ended. An expired lease still counts here.

        ``fees`` are for services within the call, to be charged as it is. ``lost`` are calls that were billed without
        giving the answer: in the ledger, but paid by the house. ``facts`` tell how the answer ended, for the charts.
        """
        ended = await self._end(uow, lease, state="settled")
        if ended is None:
            return False
        if ended == "expired":
            call, fees = await self._less_what_the_house_paid(uow, lease, call, fees)
        used = call.used_with(fees)
        await uow.quotas.charge(lease.user_id, lease.period.start, used, cache_savings_usd=call.savings_usd)
        await self._enter(uow, lease, (*lost, call, *fees), facts=facts, now=now)
        return True

    async def settle_at_once(
        self,
        uow: UnitOfWork,
        lease: Lease,
        call: BilledCall,
        *,
        fees: Sequence[BilledCall] = (),
        lost: Sequence[BilledCall] = (),
        facts: AnswerFacts | None = None,
        end: MessageEnd,
        now: datetime,
    ) -> bool:
        """:meth:`settle` a lease that is held, and end its message, together.

        False, and nothing written, if it is not held any more: then :meth:`settle` finds out what became of it.
        """
        entries = self._entries(lease.user_id, lease.plan, lease.period, (*lost, call, *fees), facts=facts, now=now)
        return await uow.closings.settle(
            lease.user_id,
            lease.id,
            period_start=lease.period.start,
            used=call.used_with(fees),
            cache_savings_usd=call.savings_usd,
            entries=entries,
            end=end,
        )

    async def release(
        self,
        uow: UnitOfWork,
        lease: Lease,
        *,
        lost: Sequence[BilledCall] = (),
        facts: AnswerFacts | None = None,
        now: datetime,
    ) -> None:
        """Give back what a failed turn held; what it was billed all the same is the house's."""
        if await self._end(uow, lease, state="released"):
            await self._enter(uow, lease, lost, facts=facts, now=now)

    async def usage(self, uow: UnitOfWork, user_id: UUID, *, now: datetime) -> UsageOfPeriod:
        """What the account used in the period that holds ``now``."""
        plan = await uow.subscriptions.require_plan(user_id, now=now)
        period = period_containing(plan.anchor_at, now)
        counters = await uow.quotas.get_period(user_id, period)
        held = await uow.quotas.held(user_id, period, now=now)
        savings = counters.cache_savings_usd if counters else Decimal(0)
        return UsageOfPeriod(period, _balance(plan.limits, counters, held), savings)

    async def _less_what_the_house_paid(
        self, uow: UnitOfWork, lease: Lease, call: BilledCall, fees: Sequence[BilledCall]
    ) -> tuple[BilledCall, Sequence[BilledCall]]:
        """A turn that was swept may have been billed as lost: one generation, fees and all, is in the ledger once."""
        paid = await uow.bills.find_house_line(lease.user_id, call.generation_id) if call.generation_id else None
        if paid is None:
            return call, fees
        cost = call.used_with(fees).cost_usd
        rest = replace(
            call,
            prompt_tokens=max(0, call.prompt_tokens - paid.prompt_tokens),
            completion_tokens=max(0, call.completion_tokens - paid.completion_tokens),
            cached_tokens_read=0,
            cached_tokens_write=0,
            cost_usd=None if call.cost_usd is None else max(Decimal(0), cost - (paid.cost_usd or 0)),
            cache_discount_usd=None
            if call.cache_discount_usd is None
            else call.cache_discount_usd - (paid.cache_discount_usd or 0),
        )
        return rest, ()

    async def _end(self, uow: UnitOfWork, lease: Lease, *, state: str) -> str | None:
        """The state the lease was in; ``None`` if it had ended for good before."""
        if await uow.quotas.end_lease(lease.user_id, lease.id, state=state):
            return "held"
        # Swept while this process was held up: the turn closes itself after all, and what was queued for it is void.
        if not await uow.quotas.end_lease(lease.user_id, lease.id, state=state, was="expired"):
            return None
        await uow.bills.forget_orphan(lease.user_id, lease.message_id)
        return "expired"

    async def _enter(
        self, uow: UnitOfWork, lease: Lease, calls: Sequence[BilledCall], *, facts: AnswerFacts | None, now: datetime
    ) -> None:
        entries = self._entries(lease.user_id, lease.plan, lease.period, calls, facts=facts, now=now)
        await uow.turns.add_to_books(entries)

    def _entries(
        self,
        user_id: UUID,
        plan: PlanTier,
        period: Period,
        calls: Sequence[BilledCall],
        *,
        facts: AnswerFacts | None = None,
        now: datetime,
    ) -> Entries:
        """What the bills and the end of a turn add to the books, and which bills are still to come."""
        recorded = [call for call in calls if not call.comes_with_its_bill]
        entries = Entries(
            ledger=[_ledger_row(user_id, plan, period, call, now) for call in recorded],
            unbilled=[_unbilled_row(user_id, plan, period, call, now) for call in calls if call.is_looked_up],
        )
        if not self._settings().usage_tracking_enabled:
            return entries
        daily = [_daily_row(user_id, plan, call, now) for call in recorded]
        ended = [] if facts is None else [facts]
        return replace(
            entries,
            facts=[asdict(each) for each in ended],
            daily=summed(daily, DAILY_KEY),
            monthly=summed(map(monthly_row, daily), MONTH_KEY),
            system=summed((*(system_row(each, now) for each in daily), *map(answer_row, ended)), SYSTEM_KEY),
            tallies=summed((row for each in ended for row in tally_rows(each)), TALLY_KEY),
        )

    async def queue(
        self, uow: UnitOfWork, user_id: UUID, plan: PlanTier, period: Period, call: BilledCall, *, now: datetime
    ) -> None:
        """Have the bill of a call looked up later; what the ledger has already is not counted twice then."""
        await uow.bills.add_unbilled(_unbilled_row(user_id, plan, period, call, now))

    async def record(
        self, uow: UnitOfWork, user_id: UUID, plan: PlanTier, period: Period, call: BilledCall, *, now: datetime
    ) -> None:
        """Append a call to the ledger, and add it to the sums. The plan's counters do not change by this."""
        entries = self._entries(user_id, plan, period, [call], now=now)
        await uow.turns.add_to_books(replace(entries, unbilled=()))


def _ledger_row(user_id: UUID, plan: PlanTier, period: Period, call: BilledCall, now: datetime) -> dict[str, Any]:
    return {
        **_owner(user_id, plan, call),
        **_counts(call),
        "id": new_id(),
        "attempt_id": call.attempt_id,
        "message_id": call.message_id,
        "provider": call.provider,
        "generation_id": call.generation_id,
        "period_start": period.start,
        "created_at": now,
        "cost_usd": call.cost_usd,
        "cache_discount_usd": call.settled_discount_usd,
        "searches": call.searches,
    }


def _daily_row(user_id: UUID, plan: PlanTier, call: BilledCall, now: datetime) -> dict[str, Any]:
    return {
        **_owner(user_id, plan, call),
        **_counts(call),
        "day": now.date(),
        "requests": requests_of(call.kind),
        "cost_usd": call.cost_usd or Decimal(0),
        "cache_discount_usd": call.savings_usd,
    }


def _unbilled_row(user_id: UUID, plan: PlanTier, period: Period, call: BilledCall, now: datetime) -> dict[str, Any]:
    return {
        **_owner(user_id, plan, call),
        "attempt_id": call.attempt_id,
        "message_id": call.message_id,
        "provider": call.provider,
        "generation_id": call.generation_id,
        "period_start": period.start,
        "period_end": period.end,
        # what the ledger has already
        "prompt_tokens": 0 if call.comes_with_its_bill else call.prompt_tokens,
        "completion_tokens": 0 if call.comes_with_its_bill else call.completion_tokens,
        "kind": call.kind if call.bill_is_to_come else LATE_DISCOUNT,
        "cache_discount_usd": call.cache_discount_usd,
        "created_at": now,
        "tries": 0,
        "next_try_at": now + FIRST_LOOK_UP,
    }


def _owner(user_id: UUID, plan: PlanTier, call: BilledCall) -> dict[str, Any]:
    return {"user_id": user_id, "plan": plan, "model": call.model, "kind": call.kind}


def _counts(call: BilledCall) -> dict[str, Any]:
    return {
        "messages": call.messages,
        "images": call.images,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "cached_tokens_read": call.cached_tokens_read,
        "cached_tokens_write": call.cached_tokens_write,
    }


def _balance(limits: PlanLimits, counters: MonthlyUsageQuota | Counters | None, held: Amounts) -> Balance:
    def meter(name: Meter, limit: int | Decimal, used: int | Decimal, reserved: int | Decimal) -> Allowance:
        return Allowance(name, Decimal(limit), Decimal(used), Decimal(reserved))

    used = counters or Counters(0, 0, 0, Decimal(0), Decimal(0))
    return Balance(
        messages=meter(Meter.MESSAGES, limits.messages_per_month, used.messages_used, held.messages),
        tokens=meter(Meter.TOKENS, limits.tokens_per_month, used.tokens_used, held.tokens),
        images=meter(Meter.IMAGES, limits.images_per_month, used.images_used, held.images),
        cost=meter(Meter.COST, limits.cost_ceiling_usd_per_month, used.cost_usd, held.cost_usd),
    )


def _exceeded(allowance: Allowance, period: Period) -> QuotaExceeded:
    in_money = allowance.meter is Meter.COST
    return QuotaExceeded(
        allowance.refusal,
        meter=allowance.meter.value,
        limit=float(allowance.limit) if in_money else int(allowance.limit),
        used=float(allowance.used) if in_money else int(allowance.used),
        resets_at=period.end.isoformat(),
    )


quota_service = QuotaService(settings=get_settings)
