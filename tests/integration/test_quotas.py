"""Leases under parallel turns, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from app.core.config import Settings
from app.core.errors import QuotaExceeded
from app.core.ids import new_id
from app.db.database import Database
from app.db.models import UsageDaily, UsageEvent
from app.domain.plans import PlanTier
from app.domain.quotas import Allowance, Amounts, Meter, TokenPrices, TurnAsk
from app.services.assembly import Services
from app.services.quota_service import BilledCall, Lease, QuotaService, UsageOfPeriod
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PRICES = TokenPrices(prompt=Decimal("0.000001"), completion=Decimal("0.000002"))
SHORT = TurnAsk(prompt_tokens=100, max_tokens=50, prices=PRICES)


class Bench:
    """A Free account (100 messages) and the quota service on one database."""

    def __init__(self, database: Database, settings: Settings, user_id: UUID) -> None:
        self.database, self.settings, self.user_id = database, settings, user_id
        self.quotas = QuotaService(settings=lambda: settings)

    @classmethod
    async def open(cls, database: Database, database_url: str, folder: Path) -> "Bench":
        settings = make_settings(database_url=database_url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
        services = Services.build(settings, clock=lambda: NOW - timedelta(days=3))
        user = await services.auth.register(email="a@example.com", password="a long password", plan=PlanTier.FREE)
        await services.aclose()
        return cls(database, settings, user.id)

    async def reserve(self, ask: TurnAsk = SHORT, *, now: datetime = NOW) -> Lease:
        async with self.database.unit_of_work() as uow:
            plan = await uow.subscriptions.require_plan(self.user_id, now=now)
            lease = await self.quotas.reserve(
                uow, self.user_id, plan, ask, message_id=new_id(), model="openai/gpt-4o", now=now
            )
            await uow.commit()
        return lease

    async def settle(self, lease: Lease, *, now: datetime = NOW, cost: str = "0.002") -> bool:
        async with self.database.unit_of_work() as uow:
            settled = await self.quotas.settle(uow, lease, make_call(cost_usd=Decimal(cost)), now=now)
            await uow.commit()
        return settled

    async def release(self, lease: Lease) -> None:
        async with self.database.unit_of_work() as uow:
            await self.quotas.release(uow, lease, now=NOW)
            await uow.commit()

    async def usage(self, *, now: datetime = NOW) -> UsageOfPeriod:
        async with self.database.read_only() as uow:
            return await self.quotas.usage(uow, self.user_id, now=now)

    async def messages(self, *, now: datetime = NOW) -> Allowance:
        return (await self.usage(now=now)).balance.messages


def make_call(*, cost_usd: Decimal | None, kind: str = "chat", generation_id: str | None = "gen-1-a") -> BilledCall:
    return BilledCall(
        attempt_id=new_id(),
        kind=kind,
        message_id=new_id(),
        model="openai/gpt-4o",
        provider="OpenAI",
        generation_id=generation_id,
        prompt_tokens=100,
        completion_tokens=20,
        cached_tokens_read=10,
        cached_tokens_write=0,
        cost_usd=cost_usd,
        cache_discount_usd=Decimal("0.0001"),
        messages=1 if kind == "chat" else 0,
    )


@pytest.fixture
async def bench(database: Database, database_url: str, tmp_path: Path) -> Bench:
    return await Bench.open(database, database_url, tmp_path)


async def use_up(bench: Bench, *, left: int) -> None:
    await bench.settle(await bench.reserve())
    async with bench.database.unit_of_work() as uow:
        start = (await bench.usage()).period.start
        await uow.quotas.charge(bench.user_id, start, Amounts(messages=99 - left), cache_savings_usd=Decimal(0))
        await uow.commit()


async def test_of_many_parallel_turns_exactly_those_that_fit_are_let_in(bench: Bench) -> None:
    await use_up(bench, left=7)

    outcomes = await asyncio.gather(*(bench.reserve() for _ in range(60)), return_exceptions=True)

    assert sum(isinstance(each, Lease) for each in outcomes) == 7
    assert sum(isinstance(each, QuotaExceeded) for each in outcomes) == 53
    messages = await bench.messages()
    assert (messages.used, messages.reserved) == (93, 7)


async def test_a_refusal_has_the_documented_words_and_says_when_it_ends(bench: Bench) -> None:
    await use_up(bench, left=0)

    with pytest.raises(QuotaExceeded) as refusal:
        await bench.reserve()
    assert refusal.value.body() == {
        "error": "quota_exceeded",
        "detail": "Monthly message limit reached (100)",
        "meter": "messages",
        "limit": 100,
        "used": 100,
        "resets_at": "2026-12-20T12:00:00+00:00",
    }


async def test_settling_twice_charges_once(bench: Bench) -> None:
    lease = await bench.reserve()

    assert [await bench.settle(lease), await bench.settle(lease)] == [True, False]
    usage = await bench.usage()
    assert usage.balance.cost.used == Decimal("0.002")
    assert usage.cache_savings_usd == Decimal("0.0001")
    assert {each.meter: each.used for each in usage.balance} == {
        Meter.MESSAGES: 1,
        Meter.TOKENS: 120,
        Meter.IMAGES: 0,
        Meter.COST: Decimal("0.002"),
    }


async def test_all_meters_are_held_while_a_turn_runs(bench: Bench) -> None:
    lease = await bench.reserve()

    held = {each.meter: each.reserved for each in (await bench.usage()).balance}
    assert lease.grant.max_tokens == 50
    assert held == {
        Meter.MESSAGES: 1,
        Meter.TOKENS: 150,
        Meter.IMAGES: 0,
        Meter.COST: Decimal("0.0002"),
    }


async def test_calls_that_gave_no_answer_are_in_the_ledger_but_not_on_the_persons_account(bench: Bench) -> None:
    lease = await bench.reserve()
    lost = make_call(cost_usd=Decimal("0.5"), kind="lost_attempt")
    async with bench.database.unit_of_work() as uow:
        await bench.quotas.release(uow, lease, lost=[lost], now=NOW)
        await uow.commit()

    usage = await bench.usage()
    assert usage.balance.cost.used == 0
    async with bench.database.read_only() as uow:
        event = (await uow._session.scalars(select(UsageEvent))).one()
    assert (event.kind, event.cost_usd, event.messages) == ("lost_attempt", Decimal("0.5"), 0)


async def test_savings_wait_for_the_bill_that_tells_them(bench: Bench) -> None:
    lease = await bench.reserve()
    async with bench.database.unit_of_work() as uow:
        await bench.quotas.settle(uow, lease, make_call(cost_usd=None), now=NOW)
        await uow.commit()

    usage = await bench.usage()
    assert (usage.balance.tokens.used, usage.cache_savings_usd) == (120, 0)
    async with bench.database.read_only() as uow:
        event = (await uow._session.scalars(select(UsageEvent))).one()
    assert event.cache_discount_usd is None


async def test_parallel_settlements_lose_nothing(bench: Bench) -> None:
    leases = [await bench.reserve() for _ in range(30)]

    await asyncio.gather(*(bench.settle(lease, cost="0.000000000001") for lease in leases))

    usage = await bench.usage()
    assert usage.balance.messages.used == 30
    assert usage.balance.cost.used == Decimal("0.000000000030")


async def test_a_released_lease_gives_everything_back(bench: Bench) -> None:
    lease = await bench.reserve()
    await bench.release(lease)

    messages = await bench.messages()
    assert (messages.used, messages.reserved) == (0, 0)
    assert not await bench.settle(lease)


async def test_an_expired_lease_counts_for_nothing_but_still_settles_once(bench: Bench) -> None:
    lease = await bench.reserve()
    later = NOW + timedelta(seconds=61)

    assert (await bench.messages(now=later)).reserved == 0
    assert await bench.settle(lease, now=later)
    assert (await bench.messages(now=later)).used == 1


async def test_a_turn_is_charged_to_the_period_it_began_in(bench: Bench) -> None:
    last_minute = datetime(2026, 12, 20, 11, 59, tzinfo=UTC)
    lease = await bench.reserve(now=last_minute)
    next_period = last_minute + timedelta(minutes=5)

    await bench.settle(lease, now=next_period)

    assert (await bench.messages(now=last_minute)).used == 1
    assert (await bench.messages(now=next_period)).used == 0


async def test_the_daily_sums_follow_the_ledger(bench: Bench) -> None:
    for _ in range(3):
        await bench.settle(await bench.reserve())

    async with bench.database.read_only() as uow:
        events = (await uow._session.scalars(select(UsageEvent))).all()
        day = (await uow._session.scalars(select(UsageDaily))).one()
    assert len(events) == 3
    assert (day.requests, day.messages, day.prompt_tokens) == (3, 3, 300)
    assert day.cost_usd == sum(each.cost_usd or 0 for each in events) == Decimal("0.006")
