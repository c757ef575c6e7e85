"""What ended without a bill: leases of dead processes are swept, missing bills are asked for, each is charged once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import QuotaLease, UnbilledCall
from app.db.unit_of_work import UnitOfWork
from app.domain.ledger import HOUSE_KINDS, IMAGE, LATE_BILL, LATE_DISCOUNT, WEB_SEARCH
from app.domain.periods import Period
from app.domain.quotas import Amounts
from app.openrouter.cache_accounts import account_for_record
from app.openrouter.cache_prints import decode
from app.openrouter.cache_verdicts import CacheOutcome
from app.openrouter.errors import GenerationNotFound, OpenRouterError
from app.openrouter.generations import GenerationRecord
from app.openrouter.pricing import PriceList
from app.openrouter.types import Usage
from app.openrouter.web_search import searched_by_record
from app.services.chat_events import MessageInterrupted
from app.services.model_call import MOST_USD, sane_usage
from app.services.openrouter_service import NotConfigured, OpenRouterService, openrouter_service
from app.services.quota_service import BilledCall, QuotaService, quota_service
from app.services.shared_answers import SharedAnswers, shared_answers

log = structlog.get_logger(__name__)

BATCH = 100
LOOK_UPS_AT_ONCE = 10
FOLD_AFTER = timedelta(hours=2)
"""No turn closes that long after the instant it writes down: nobody adds to these sums any more."""
LOOK_UP_FOR = timedelta(hours=24)
"""After this a bill that never came is given up, loudly."""
LONGEST_PAUSE = timedelta(minutes=30)
KEYS_LIVE = timedelta(hours=24)
"""How long a request may be repeated under its idempotency key."""


class ReconciliationService:
    """Runs in every process; two that meet at the same lease or bill settle it once."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        shared: SharedAnswers,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._shared = shared
        self._clock = clock
        self._next_forgetting = clock()

    async def run_forever(self) -> None:
        """Sweep and look up until cancelled; the app's lifespan runs and ends this."""
        while True:
            try:
                await self.run_once()
            except Exception:  # whatever it was: the next round must come
                log.exception("reconciliation.failed")
            await asyncio.sleep(self._settings().reconcile_interval_seconds)

    async def run_once(self) -> None:
        """Everything that is due now."""
        await self._sweep_expired_leases()
        await self._look_up_bills()
        if self._clock() >= self._next_forgetting:
            self._next_forgetting = self._clock() + timedelta(hours=1)
            await self._forget_old_keys()
            await self._fold_sums()

    async def _sweep_expired_leases(self) -> None:
        now = self._clock()
        async with self._database.read_only() as uow:
            expired = await uow.quotas.list_expired(now=now, limit=BATCH)
        for lease in expired:
            try:
                await self._sweep(lease, now=now)
            except SQLAlchemyError as error:  # one that cannot be swept must not keep the others
                log.error("lease.not_swept", lease_id=str(lease.id), kind=type(error).__name__)

    async def _sweep(self, lease: QuotaLease, *, now: datetime) -> None:
        async with self._database.unit_of_work() as uow:
            if await uow.quotas.end_lease(lease.user_id, lease.id, state="expired"):
                await self._close_orphan(uow, lease, now=now)
                await uow.commit()
                log.warning("turn.orphaned", message_id=str(lease.message_id), lease_id=str(lease.id))
            else:
                return
        await self._shared.end(lease.user_id, lease.message_id, MessageInterrupted(message_id=lease.message_id))

    async def _close_orphan(self, uow: UnitOfWork, lease: QuotaLease, *, now: datetime) -> None:
        was_pending = await uow.bills.interrupt_pending(
            lease.user_id, lease.message_id, now=now, is_provisional=lease.generation_id is not None
        )
        await uow.idempotency.forget_unanswered(lease.user_id, lease.message_id)
        if lease.generation_id is None:
            return  # nothing was heard from upstream: there is nothing to ask for
        call = _orphaned_call(lease)
        if was_pending:
            await uow.turns.add_attempts([_orphaned_attempt(lease, call, now)])
        await self._quotas.queue(uow, lease.user_id, lease.plan, _period_of(lease), call, now=now)

    async def _look_up_bills(self) -> None:
        async with self._database.read_only() as uow:
            due = await uow.bills.list_due(now=self._clock(), limit=BATCH)
        # A few at a time: one that hangs until its time-out must not hold up the rest, nor the next sweep for long.
        for start in range(0, len(due), LOOK_UPS_AT_ONCE):
            await asyncio.gather(*(self._look_up_safely(call) for call in due[start : start + LOOK_UPS_AT_ONCE]))

    async def _look_up_safely(self, call: UnbilledCall) -> None:
        try:
            await self._look_up(call)
        except SQLAlchemyError as error:  # a bill that cannot be written waits, and the others go on
            log.error("bill.not_written", generation_id=call.generation_id, kind=type(error).__name__)
            async with self._database.unit_of_work() as uow:
                await self._postpone(uow, call)
                await uow.commit()

    async def _look_up(self, call: UnbilledCall) -> None:
        try:
            record: GenerationRecord | None = await self._openrouter.get_generation(call.generation_id)
        except GenerationNotFound:
            record = None
        except (OpenRouterError, NotConfigured) as error:
            log.warning("bill.not_to_be_had", error_code=error.code, generation_id=call.generation_id)
            record = None
        async with self._database.unit_of_work() as uow:
            if record is None or not _is_plausible(record):
                await self._postpone(uow, call)
            elif await uow.bills.take_unbilled(call):
                await self._charge(uow, call, record)
            await uow.commit()

    async def _postpone(self, uow: UnitOfWork, call: UnbilledCall) -> None:
        now = self._clock()
        if now - call.created_at > LOOK_UP_FOR:
            if call.kind == LATE_DISCOUNT and await uow.bills.take_unbilled(call):
                await self._settle(uow, call, _late_discount(call, None))  # our own reckoning is the best there is
                return
            log.error("bill.given_up", generation_id=call.generation_id, user_id=str(call.user_id))
            await uow.bills.postpone(call, until=None)
            return
        pause = min(LONGEST_PAUSE, timedelta(seconds=5 * 2 ** min(call.tries, 10)))
        await uow.bills.postpone(call, until=now + pause)

    async def _charge(self, uow: UnitOfWork, call: UnbilledCall, record: GenerationRecord) -> None:
        if call.kind == LATE_DISCOUNT:
            await self._settle(uow, call, _late_discount(call, record))
            return
        profile = self._openrouter.catalog.get(record.model or call.model)
        left = decode(await uow.bills.get_cache_prefix(call))
        prices = profile.prices if profile else None
        lifetimes = [mark.ttl for mark in left.printed.marks] if left else []
        usage, discount = account_for_record(
            _with_searches(record, prices or PriceList(), lifetimes), record.cache_discount, prices, lifetimes
        )
        late = _late_bill(call, record, usage, discount if discount is not None else call.cache_discount_usd)
        await self._settle(uow, call, late, usage)

    async def _settle(self, uow: UnitOfWork, call: UnbilledCall, late: BilledCall, usage: Usage | None = None) -> None:
        """Enter the late line, count it against the month unless the house pays, and complete what it is about."""
        period = Period(call.period_start, call.period_end)
        fees: list[BilledCall] = []
        if call.kind not in HOUSE_KINDS:  # the month before the day, as everybody takes them
            used = Amounts(tokens=late.tokens, cost_usd=late.cost_usd or Decimal(0))
            if usage and usage.search_cost is not None:
                late, *fees = late.with_fee(WEB_SEARCH, usage.search_cost, searches=usage.searches or 0)
            savings = late.cache_discount_usd or Decimal(0)
            await uow.quotas.charge(call.user_id, call.period_start, used, cache_savings_usd=savings)
        for line in (late, *fees):
            await self._quotas.record(uow, call.user_id, call.plan, period, line, now=self._clock())
        numbers = _late_numbers(call, usage) if usage else {}
        certain = _certain(numbers, late)
        cost = {"cost_usd": usage.cost} if usage else {}
        await uow.bills.complete_attempt(call.user_id, call.attempt_id, numbers | cost, certain)
        if call.kind == IMAGE and usage is not None and usage.cost is not None:
            await uow.images.complete_cost(call.user_id, call.generation_id, usage.cost)
        if call.kind not in HOUSE_KINDS and call.message_id is not None:
            whole = _late_totals(usage) if usage else {}
            await uow.bills.complete_message(call.user_id, call.message_id, numbers | whole, certain)
        elif call.message_id is not None:
            await uow.bills.settle_unanswered(call.user_id, call.message_id)

    async def _fold_sums(self) -> None:
        async with self._database.unit_of_work() as uow:
            await uow.rollups.fold(before=self._clock() - FOLD_AFTER)
            await uow.commit()

    async def _forget_old_keys(self) -> None:
        async with self._database.unit_of_work() as uow:
            await uow.idempotency.forget_older_than(self._clock() - KEYS_LIVE)
            await uow.commit()


def _is_plausible(record: GenerationRecord) -> bool:
    told, sane = record.usage, sane_usage(record.usage)
    return sane.cost is not None and (told.completion_tokens, told.cost) == (sane.completion_tokens, sane.cost)


def _late_numbers(call: UnbilledCall, usage: Usage) -> dict[str, Any]:
    numbers = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    if call.prompt_tokens not in (0, usage.prompt_tokens):  # parts of another whole
        return numbers
    return numbers | {"cached_tokens_read": usage.cached_tokens, "cached_tokens_write": usage.cache_write_tokens}


def _late_totals(usage: Usage) -> dict[str, Any]:
    return {
        "total_tokens": usage.total_tokens,
        "total_cost_usd": usage.cost,
        "web_search_requests": usage.searches,
        "web_search_cost_usd": usage.search_cost,
    }


def _with_searches(record: GenerationRecord, prices: PriceList, lifetimes: Sequence[str]) -> Usage:
    """The usage of a record, with as many searches as explain its bill."""

    def explains(usage: Usage) -> bool:
        if usage.cost == usage.search_cost and (usage.is_byok or not usage.completion_tokens):
            return True  # nothing but the searches was charged
        explained, reckoned = account_for_record(usage, None, prices, lifetimes)
        if explained.cache_write_tokens is None:
            return False
        return record.cache_discount is None or reckoned == record.cache_discount

    return searched_by_record(replace(record, usage=sane_usage(record.usage)), prices, explains)


def _certain(numbers: Mapping[str, Any], late: BilledCall) -> dict[str, Any]:
    """What stands in place of what had been reckoned before the record was there."""
    discount = {} if late.cache_discount_usd is None else {"cache_discount_usd": late.cache_discount_usd}
    return discount | ({"cache_outcome": CacheOutcome.HIT.value} if numbers.get("cached_tokens_read") else {})


def _late_discount(call: UnbilledCall, record: GenerationRecord | None) -> BilledCall:
    """A line of 0 USD with what caching saved of a call that is in the ledger already."""
    told = record.cache_discount if record else None
    return BilledCall(
        attempt_id=call.attempt_id,
        kind=LATE_BILL,
        message_id=call.message_id,
        model=call.model,
        provider=call.provider,
        generation_id=call.generation_id,
        prompt_tokens=0,
        completion_tokens=0,
        cached_tokens_read=0,
        cached_tokens_write=0,
        cost_usd=Decimal(0),
        cache_discount_usd=call.cache_discount_usd if told is None or abs(told) > MOST_USD else told,
    )


def _late_bill(call: UnbilledCall, record: GenerationRecord, usage: Usage, discount: Decimal | None) -> BilledCall:
    is_whole = call.prompt_tokens == 0  # nothing of the prompt is in the ledger yet
    return BilledCall(
        attempt_id=call.attempt_id,
        kind=LATE_BILL if call.kind not in HOUSE_KINDS else call.kind,
        message_id=call.message_id,
        model=record.model or call.model,
        provider=record.provider or call.provider,
        generation_id=call.generation_id,
        prompt_tokens=max(0, (usage.prompt_tokens or 0) - call.prompt_tokens),
        completion_tokens=max(0, (usage.completion_tokens or 0) - call.completion_tokens),
        cached_tokens_read=(usage.cached_tokens or 0) if is_whole else 0,
        cached_tokens_write=(usage.cache_write_tokens or 0) if is_whole else 0,
        cost_usd=usage.cost,
        cache_discount_usd=discount,
    )


def _orphaned_call(lease: QuotaLease) -> BilledCall:
    return BilledCall(
        attempt_id=new_id(),
        kind="lost_attempt",
        message_id=lease.message_id,
        model=lease.model,
        provider=None,
        generation_id=lease.generation_id,
        prompt_tokens=0,
        completion_tokens=0,
        cached_tokens_read=0,
        cached_tokens_write=0,
        cost_usd=None,
        cache_discount_usd=None,
    )


def _orphaned_attempt(lease: QuotaLease, call: BilledCall, now: datetime) -> dict[str, object]:
    return {
        "user_id": lease.user_id,
        "id": call.attempt_id,
        "message_id": lease.message_id,
        "ordinal": 1,
        "models_asked": [lease.model],
        "model": lease.model,
        "outcome": "interrupted",
        "generation_id": lease.generation_id,
        "created_at": now,
    }


def _period_of(lease: QuotaLease) -> Period:
    # Only its start is a key; nothing is charged to an orphan's owner.
    return Period(lease.period_start, lease.period_start + timedelta(days=31))


reconciliation_service = ReconciliationService(
    settings=get_settings,
    database=database,
    openrouter=openrouter_service,
    quotas=quota_service,
    shared=shared_answers,
)
