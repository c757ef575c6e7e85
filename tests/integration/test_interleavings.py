"""Whatever the order of reserving, settling, releasing, expiring, sweeping and late bills: the books stay right.

Hypothesis chooses the steps; several of one step run as transactions side by side, on the real database. What
OpenRouter billed is the emulator's, for calls that were really made.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.core.clock import utc_now
from app.core.errors import QuotaExceeded
from app.core.ids import new_id
from app.db.repositories.closings import MessageEnd
from app.db.repositories.openings import Opening
from app.domain.ledger import Difference, LedgerLine, compare, project
from app.domain.periods import Period
from app.domain.plans import PlanTier
from app.domain.quotas import MIN_ANSWER_TOKENS, Amounts, TokenPrices, TurnAsk
from app.services.assembly import Services
from app.services.model_call import ChatResult
from app.services.quota_service import BilledCall, Lease, QuotaService, UsageOfPeriod
from tests.emulator.process import EmulatorProcess
from tests.support.served import make_settings

EXAMPLES = int(os.environ.get("EXAMPLES", "12"))
"""How many histories are tried; `make soak` tries more."""
STEPS = 15
LEASE_SECONDS = 60
MODEL = "openai/gpt-4o-mini"
METERS = ("messages", "tokens", "cost_usd")
PRICES = TokenPrices(prompt=Decimal("0.0000001"), completion=Decimal("0.0000006"))
ZERO = Amounts()


def plus(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(**{name: getattr(one, name) + getattr(other, name) for name in METERS})


def beyond(bill: Amounts, held: Amounts) -> Amounts:
    return Amounts(**{name: max(0, getattr(bill, name) - getattr(held, name)) for name in METERS})


@dataclass
class Held:
    """A lease as the model of these tests knows it. ``state``: held, swept or over."""

    lease: Lease
    expires_at: datetime
    state: str = "held"

    def counts_at(self, now: datetime) -> bool:
        return self.state == "held" and self.expires_at > now


@dataclass
class Books:
    """What ought to stand in the database for one account."""

    used: dict[datetime, Amounts] = field(default_factory=dict)
    excess: dict[datetime, Amounts] = field(default_factory=dict)
    """Bills above what was held, and all of those that came when nothing was held any more: no limit stops these."""
    generations: list[str] = field(default_factory=list)
    """Those whose bill must be in the ledger."""
    tokens: int = 0
    """All that the ledger's lines add up to, the house's too."""
    late: list[tuple[BilledCall, Period | None]] = field(default_factory=list)
    """Those whose bill is still to come, with the period that pays; the house pays where there is none."""

    def enter(self, call: BilledCall, period: Period | None) -> None:
        """What the ledger learns when a turn ends: without a bill only what the person is charged for already."""
        if call.bill_is_to_come:
            self.late.append((call, period))
            self.tokens += call.tokens if period else 0
        else:
            self.generations.append(call.generation_id or "")
            self.tokens += call.tokens

    def charge(self, period: Period, bill: Amounts, *, held: Amounts) -> None:
        self.used[period.start] = plus(self.used.get(period.start, ZERO), bill)
        self.excess[period.start] = plus(self.excess.get(period.start, ZERO), beyond(bill, held))


class Interleavings(RuleBasedStateMachine):
    """One account with small limits, and everything that happens to its quota."""

    url: ClassVar[str]
    folder: ClassVar[Path]
    openrouter: ClassVar[EmulatorProcess]
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ahead = timedelta()
        app_settings = make_settings(
            database_url=self.url,
            data_dir=self.folder,
            openrouter_url=self.openrouter.base_url,
            quota_lease_seconds=LEASE_SECONDS,
        )
        self.services = Services.build(app_settings, clock=self.now)
        self.quotas = QuotaService(settings=lambda: app_settings)
        self.books = Books()
        self.held: list[Held] = []

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def run(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Side by side; what is refused is among the results."""

        async def together() -> list[Any]:
            return await asyncio.gather(*work, return_exceptions=True)

        found = self.runner.run(together())
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, QuotaExceeded):
                raise each
        return found

    def teardown(self) -> None:
        try:
            self.books_equal_what_openrouter_billed()
        finally:
            self.run(self.services.aclose())
            self.runner.close()

    # the account

    @initialize(
        messages=st.sampled_from([4, 2, 6, 3, 0]),
        tokens=st.sampled_from([50_000, 5_000, 20_000, 1_000, 150, 0]),
        cents=st.sampled_from([90, 50, 20, 5, 0]),
    )
    def join(self, messages: int, tokens: int, cents: int) -> None:
        self.limits = Amounts(messages=messages, tokens=tokens, cost_usd=Decimal(cents) / 1_000)
        ((self.user_id, self.conversation_id),) = self.run(self._join())

    async def _join(self) -> tuple[UUID, UUID]:
        user = await self.services.auth.register(
            email=f"{new_id()}@example.com", password="long enough", plan=PlanTier.PREMIUM
        )
        limits: dict[str, int | Decimal] = {
            "messages_per_month": self.limits.messages,
            "tokens_per_month": self.limits.tokens,
            "cost_ceiling_usd_per_month": self.limits.cost_usd,
        }
        async with self.services.database.unit_of_work() as uow:
            await uow.overrides.put(user.id, limits, reason="test", expires_at=None, now=self.now())
            await uow.commit()
        return user.id, (await self.services.conversations.create(user.id)).id

    # the steps

    @rule(
        target=leases,
        many=st.integers(1, 4),
        prompt_tokens=st.sampled_from([10, 80, 300]),
        max_tokens=st.sampled_from([1, 40, 500]),
        are_priced=st.booleans(),
        messages=st.sampled_from([1, 1, 0]),
        locking=st.integers(0, 4),
    )
    def reserve(
        self, many: int, prompt_tokens: int, max_tokens: int, are_priced: bool, messages: int, locking: int
    ) -> Any:
        """Some take the month's lock first, the others write only if nothing has changed since they read."""
        ask = TurnAsk(prompt_tokens, max_tokens, PRICES if are_priced else None, messages=messages)
        outcomes = self.run(*(self._reserve(ask) if n < locking else self._open(ask) for n in range(many)))
        taken = [each for each in outcomes if isinstance(each, Held)]
        self.held += taken
        for refusal in outcomes:
            if isinstance(refusal, QuotaExceeded):
                self._is_justified(refusal, ask)
        return multiple(*taken)

    async def _reserve(self, ask: TurnAsk) -> Held:
        now = self.now()
        async with self.services.database.unit_of_work() as uow:
            plan = await uow.subscriptions.require_plan(self.user_id, now=now)
            lease = await self.quotas.reserve(uow, self.user_id, plan, ask, message_id=new_id(), model=MODEL, now=now)
            await uow.commit()
        return Held(lease, now + timedelta(seconds=LEASE_SECONDS))

    async def _open(self, ask: TurnAsk) -> Held:
        now, message_id = self.now(), new_id()
        async with self.services.database.statement_by_statement() as uow:
            opening = Opening.OVERTAKEN
            while opening is Opening.OVERTAKEN:
                means = await uow.openings.get_means(self.user_id, now=now)
                assert means is not None
                lease = self.quotas.grant(self.user_id, means, ask, message_id=message_id)
                opening = await uow.openings.write(
                    means,
                    lease=self.quotas.lease_row(lease, model=MODEL, now=now),
                    conversation_id=self.conversation_id,
                    conversation={"updated_at": now},
                    messages=[],
                )
            await uow.commit()
        assert opening is Opening.WRITTEN
        return Held(lease, now + timedelta(seconds=LEASE_SECONDS))

    def _is_justified(self, refusal: QuotaExceeded, ask: TurnAsk) -> None:
        """After all that ran beside it, what was refused would still not fit."""
        used, reserved = self._counted()
        least = min(MIN_ANSWER_TOKENS, ask.max_tokens)
        needed: dict[str, Any] = {"messages": ask.messages, "tokens": ask.prompt_tokens + least}
        needed["cost"] = Decimal("1e-12")
        if ask.prices:
            needed["cost"] = ask.prompt_tokens * PRICES.prompt + least * PRICES.completion
        meter = refusal.fields["meter"]
        name = "cost_usd" if meter == "cost" else meter
        free = getattr(self.limits, name) - getattr(used, name) - getattr(reserved, name)
        assert free < needed[meter], (meter, free, needed)

    @rule(held=leases, times=st.integers(1, 3), in_steps=st.integers(0, 3))
    def settle(self, held: Held, times: int, in_steps: int) -> None:
        """Close a turn, perhaps several times at once, also after it ended or ran out."""
        call = self._billed(held)
        outcomes = self.run(
            *(self._settle(held, call) if n < in_steps else self._close_at_once(held, call) for n in range(times))
        )
        assert Counter(outcomes)[True] == (held.state != "over")
        self._close(held, call)

    @rule(held=leases)
    def settle_without_a_bill(self, held: Held) -> None:
        """The answer came, its cost will be told later."""
        call = replace(self._billed(held), cost_usd=None)
        assert self.run(self._close_at_once(held, call)) == [held.state != "over"]
        self._close(held, call)

    @rule(held=leases, times=st.integers(1, 2), is_billed=st.booleans())
    def release(self, held: Held, times: int, is_billed: bool) -> None:
        """Give back, perhaps several times at once; the call was billed all the same, or will be: the house pays."""
        lost = replace(self._billed(held), kind="lost_attempt", messages=0)
        if not is_billed:
            lost = replace(lost, cost_usd=None)
        self.run(*(self._release(held, lost) for _ in range(times)))
        if held.state != "over":
            self.books.enter(lost, None)
        held.state = "over"

    @rule(held=leases)
    def settle_and_release_at_once(self, held: Held) -> None:
        """Only one of the two may happen."""
        call = self._billed(held)
        lost = replace(call, kind="lost_attempt", messages=0)
        settled, _ = self.run(self._settle(held, call), self._release(held, lost))
        if held.state == "over":
            assert not settled
        elif settled:
            self._close(held, call)
        else:
            self.books.enter(lost, None)
        held.state = "over"

    @rule(held=leases, others=st.lists(leases, min_size=1, max_size=4))
    def settle_many_at_once(self, held: Held, others: list[Held]) -> None:
        different = list({each.lease.id: each for each in [held, *others]}.values())
        calls = [self._billed(each) for each in different]
        outcomes = self.run(*(self._settle(*pair) for pair in zip(different, calls, strict=True)))
        for each, call, settled in zip(different, calls, outcomes, strict=True):
            assert settled == (each.state != "over")
            self._close(each, call)

    @rule(held=leases, is_late=st.booleans())
    def beat(self, held: Held, is_late: bool) -> None:
        """The heartbeat: a lease that still holds lives on, one that ran out does not come back."""
        self.ahead += timedelta(seconds=LEASE_SECONDS + 1 if is_late else 1)
        now = self.now()
        until = now + timedelta(seconds=LEASE_SECONDS)
        if held.counts_at(now):
            held.expires_at = until
        self.run(self._beat(held, now, until))

    async def _beat(self, held: Held, now: datetime, until: datetime) -> None:
        async with self.services.database.unit_of_work() as uow:
            await uow.quotas.extend_leases([(self.user_id, held.lease.id)], now=now, until=until)
            await uow.commit()

    @rule(seconds=st.sampled_from([LEASE_SECONDS + 1, LEASE_SECONDS // 2]))
    def wait(self, seconds: int) -> None:
        self.ahead += timedelta(seconds=seconds)

    @rule(target=leases)
    def let_a_month_end_over_a_running_turn(self) -> Any:
        """What began in the old month is held of the old one, and will be charged to it."""
        (usage,) = self.run(self._usage())
        self.ahead += usage.period.end - self.now() - timedelta(seconds=LEASE_SECONDS / 3)
        outcomes = self.run(self._reserve(TurnAsk(10, 40, PRICES)))
        self.ahead += timedelta(seconds=LEASE_SECONDS / 2)
        taken = [each for each in outcomes if isinstance(each, Held)]
        self.held += taken
        return multiple(*taken)

    @rule(processes=st.integers(1, 3))
    def sweep(self, processes: int) -> None:
        """Reconcile, perhaps in several processes at once: dead leases end, late bills are charged."""
        self.openrouter.advance(60)
        self.ahead += timedelta(seconds=6)  # the first look is five seconds after the answer
        self.run(*(self.services.reconciliation.run_once() for _ in range(processes)))
        now = self.now()
        for each in self.held:
            if each.state == "held" and not each.counts_at(now):
                each.state = "swept"
        for call, period in self.books.late:
            self.books.generations.append(call.generation_id or "")
            if period is None:
                self.books.tokens += call.tokens
            else:
                self.books.charge(period, Amounts(cost_usd=self._bill_of(call.generation_id or "")), held=ZERO)
        self.books.late.clear()

    # what was billed

    def _billed(self, held: Held) -> BilledCall:
        """A call that OpenRouter really answered."""
        (result,) = self.run(
            self.services.openrouter.chat_completion(
                messages=[{"role": "user", "content": "What is patience?"}],
                model=MODEL,
                fallback_models=(),
                max_tokens=20,
                enable_caching=False,
            )
        )
        assert isinstance(result, ChatResult)
        generation_id = result.completion.generation_id
        assert generation_id is not None
        return BilledCall(
            attempt_id=new_id(),
            kind="chat",
            message_id=held.lease.message_id,
            model=MODEL,
            provider=result.provider,
            generation_id=generation_id,
            prompt_tokens=(result.usage.prompt_tokens or 0),
            completion_tokens=(result.usage.completion_tokens or 0),
            cached_tokens_read=0,
            cached_tokens_write=0,
            cost_usd=result.usage.cost,
            cache_discount_usd=None,
            messages=held.lease.grant.amounts.messages,
        )

    def _close(self, held: Held, call: BilledCall) -> None:
        """The model's side of settling."""
        if held.state == "over":
            return
        bill = Amounts(messages=call.messages, tokens=call.tokens, cost_usd=call.cost_usd or Decimal(0))
        amounts = held.lease.grant.amounts if held.counts_at(self.now()) else ZERO
        self.books.charge(held.lease.period, bill, held=amounts)
        self.books.enter(call, held.lease.period)
        held.state = "over"

    async def _settle(self, held: Held, call: BilledCall) -> bool:
        async with self.services.database.unit_of_work() as uow:
            settled = await self.quotas.settle(uow, held.lease, call, now=self.now())
            await uow.commit()
        return settled

    async def _close_at_once(self, held: Held, call: BilledCall) -> bool:
        """As a turn is closed: in one statement where the lease is held, else step by step."""
        end = MessageEnd(message_id=held.lease.message_id, values={"status": "completed"}, attempts=[])
        async with self.services.database.statement_by_statement() as uow:
            is_closed = await self.quotas.settle_at_once(uow, held.lease, call, end=end, now=self.now())
            await uow.commit()
        return is_closed or await self._settle(held, call)

    async def _release(self, held: Held, lost: BilledCall) -> None:
        async with self.services.database.unit_of_work() as uow:
            await self.quotas.release(uow, held.lease, lost=[lost], now=self.now())
            await uow.commit()

    def _bill_of(self, *generation_ids: str) -> Decimal:
        return Decimal(str(self.openrouter.bill(*generation_ids)["total"])) if generation_ids else Decimal(0)

    # what always holds

    def _counted(self) -> tuple[Amounts, Amounts]:
        (usage,) = self.run(self._usage())
        (messages, tokens, _, cost) = usage.balance
        used = Amounts(messages=int(messages.used), tokens=int(tokens.used), cost_usd=cost.used)
        return used, Amounts(messages=int(messages.reserved), tokens=int(tokens.reserved), cost_usd=cost.reserved)

    async def _usage(self) -> UsageOfPeriod:
        async with self.services.database.snapshot() as uow:
            return await self.quotas.usage(uow, self.user_id, now=self.now())

    @invariant()
    def the_counters_hold_what_was_billed_and_leases_what_runs(self) -> None:
        now = self.now()
        (usage,) = self.run(self._usage())
        period = usage.period
        used, reserved = self._counted()
        assert used == self.books.used.get(period.start, ZERO)
        running = [
            each.lease.grant.amounts for each in self.held if each.counts_at(now) and each.lease.period == period
        ]
        assert reserved == sum_up(running)
        excess = self.books.excess.get(period.start, ZERO)
        for name in METERS:
            most = getattr(self.limits, name) + getattr(excess, name)
            assert getattr(used, name) + getattr(reserved, name) <= most, name

    @invariant()
    def the_ledger_says_what_the_counters_and_the_days_say(self) -> None:
        (differences,) = self.run(self._compare())
        assert differences == []

    async def _compare(self) -> list[Difference]:
        async with self.services.database.snapshot() as uow:
            projection = project(await uow.ledger.list_lines(self.user_id))
            months, days = await uow.ledger.get_months(self.user_id), await uow.ledger.get_days(self.user_id)
        return compare("months", months, projection.months) + compare("days", days, projection.days)

    def books_equal_what_openrouter_billed(self) -> None:
        (lines,) = self.run(self._lines())
        assert sum(each.cost_usd or 0 for each in lines) == self._bill_of(*self.books.generations)
        assert sum(each.prompt_tokens + each.completion_tokens for each in lines) == self.books.tokens

    async def _lines(self) -> list[LedgerLine]:
        async with self.services.database.read_only() as uow:
            return await uow.ledger.list_lines(self.user_id)


def sum_up(amounts: list[Amounts]) -> Amounts:
    total = ZERO
    for each in amounts:
        total = plus(total, each)
    return total


@pytest.mark.anyio
@pytest.mark.timeout(1200)
async def test_no_order_of_events_spoils_the_books(
    database_url: str, tmp_path: Path, openrouter: EmulatorProcess
) -> None:
    machine = type(
        "OnThisDatabase", (Interleavings,), {"url": database_url, "folder": tmp_path, "openrouter": openrouter}
    )
    chosen = settings(
        max_examples=EXAMPLES,
        phases=(Phase.generate,),
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    # In a thread of its own: the steps wait for the database on an event loop of theirs.
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=chosen)
