"""The sums for charts are those of the ledger and the answers' facts, whatever happened and however much at once."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from app.core.config import Settings
from app.core.ids import new_id
from app.db.database import Database
from app.db.models import AnswerTally, SystemUsage, UsageDaily, UsageEvent, UsageMonthly
from app.db.repositories.closings import MessageEnd
from app.domain.plans import PlanTier
from app.domain.rollups import FOLDED, AnswerFacts
from app.services.assembly import Services
from app.services.ledger_service import LedgerService
from app.services.quota_service import BilledCall, Lease, QuotaService
from tests.integration.test_quotas import SHORT
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio
BEGIN = datetime(2026, 10, 30, 12, tzinfo=UTC)
PLANS = (PlanTier.PREMIUM, PlanTier.PREMIUM, PlanTier.UNLIMITED)


@dataclass(frozen=True)
class Ended:
    """One turn of a history: whose, when, what was billed for it and how it ended."""

    person: int
    hours: int
    call: BilledCall
    lost: tuple[BilledCall, ...]
    facts: dict[str, Any] | None
    at_once: bool


def bills(kind: str, *, messages: int = 0) -> st.SearchStrategy[BilledCall]:
    counts = st.integers(0, 5_000)
    money = st.none() | st.decimals(0, 1, places=9).map(lambda usd: usd / 10)
    return st.builds(
        BilledCall,
        attempt_id=st.builds(new_id),
        kind=st.just(kind),
        message_id=st.none(),
        model=st.sampled_from(["a/one", "b/two"]),
        provider=st.none(),
        generation_id=st.none(),
        prompt_tokens=counts.map(lambda count: count + 10_000),
        completion_tokens=counts,
        cached_tokens_read=counts,
        cached_tokens_write=counts,
        cost_usd=money,
        cache_discount_usd=st.none() | st.decimals(-1, 1, places=6),
        messages=st.just(messages),
    )


FACTS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["a/one", "b/two"]),
        "status": st.sampled_from(["completed", "failed", "stopped", "interrupted"]),
        "error_code": st.sampled_from([None, "upstream_timeout"]),
        "begins_conversation": st.booleans(),
        "is_truncated": st.booleans(),
        "fallback_used": st.booleans(),
        "schema_passed": st.sampled_from([None, True, False]),
        "cache_outcome": st.sampled_from([None, "hit", "ttl_expired"]),
        "preset_id": st.none(),
        "first_token_ms": st.none() | st.integers(0, 3_000_000),
        "latency_ms": st.none() | st.integers(0, 3_000_000),
    }
)
TURNS = st.builds(
    Ended,
    person=st.integers(0, 2),
    hours=st.integers(0, 60),
    call=bills("chat", messages=1) | bills("title") | bills("late_bill") | bills("pdf_ocr"),
    lost=st.lists(bills("lost_attempt"), max_size=2).map(tuple),
    facts=st.none() | FACTS,
    at_once=st.booleans(),
)


class House:
    """Three accounts on one database, and the services that keep their books."""

    def __init__(self, database: Database, settings: Settings, people: list[UUID]) -> None:
        self.database, self.people = database, people
        self.quotas = QuotaService(settings=lambda: settings)
        self.ledger = LedgerService(settings=lambda: settings, database=database)

    @classmethod
    async def open(cls, database: Database, url: str, folder: Path) -> "House":
        made = make_settings(database_url=url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
        services = Services.build(made, clock=lambda: BEGIN)
        people = [
            (await services.auth.register(email=f"{plan}{number}@example.com", password="long enough", plan=plan)).id
            for number, plan in enumerate(PLANS)
        ]
        await services.aclose()
        return cls(database, made, people)

    async def reserve(self, turn: Ended) -> Lease:
        now, user_id = BEGIN + timedelta(hours=turn.hours), self.people[turn.person]
        async with self.database.unit_of_work() as uow:
            plan = await uow.subscriptions.require_plan(user_id, now=now)
            lease = await self.quotas.reserve(
                uow, user_id, plan, replace(SHORT, messages=0), message_id=new_id(), model="a/one", now=now
            )
            await uow.commit()
        return lease

    async def end(self, turn: Ended) -> None:
        lease, now = await self.reserve(turn), BEGIN + timedelta(hours=turn.hours)
        facts = None
        if turn.facts is not None:
            facts = AnswerFacts(user_id=lease.user_id, id=lease.message_id, ended_at=now, plan=lease.plan, **turn.facts)
        end = MessageEnd(message_id=lease.message_id, values={"status": "completed"}, attempts=[])
        call = replace(turn.call, attempt_id=new_id())
        lost = [replace(each, attempt_id=new_id()) for each in turn.lost]
        if turn.at_once:
            async with self.database.statement_by_statement() as uow:
                assert await self.quotas.settle_at_once(uow, lease, call, lost=lost, facts=facts, end=end, now=now)
                await uow.commit()
            return
        async with self.database.unit_of_work() as uow:
            assert await self.quotas.settle(uow, lease, call, lost=lost, facts=facts, now=now)
            await uow.commit()

    async def fold(self, hours: int) -> None:
        async with self.database.unit_of_work() as uow:
            await uow.rollups.fold(before=BEGIN + timedelta(hours=hours))
            await uow.commit()

    async def totals(self, table: Any) -> tuple[Any, ...]:
        columns = (table.messages, table.prompt_tokens, table.cached_tokens_read, table.cost_usd)
        async with self.database.read_only() as uow:
            row = (await uow._session.execute(select(*(func.sum(each) for each in columns)))).one()
        return tuple(each or 0 for each in row)


@pytest.fixture
async def house(database: Database, database_url: str, tmp_path: Path) -> House:
    return await House.open(database, database_url, tmp_path)


async def require_true_sums(house: House) -> None:
    assert (await house.ledger.verify()).differences == ()
    in_ledger = await house.totals(UsageEvent)
    for table in (UsageDaily, UsageMonthly, SystemUsage):
        assert await house.totals(table) == in_ledger, table


async def test_sums_are_those_of_any_history_also_folded_and_rebuilt(house: House) -> None:
    loop = asyncio.get_running_loop()

    async def live(history: list[Ended]) -> None:
        await asyncio.gather(*(house.end(turn) for turn in history), house.fold(30))
        await require_true_sums(house)
        await house.fold(60)
        await require_true_sums(house)
        await spoil(house.database)
        assert (await house.ledger.verify()).differences or not history
        await asyncio.gather(house.ledger.rebuild(), *(house.end(turn) for turn in history[:3]))
        await house.ledger.rebuild()
        await require_true_sums(house)

    @settings(
        max_examples=4,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(TURNS, min_size=6, max_size=14))
    def check(history: list[Ended]) -> None:
        asyncio.run_coroutine_threadsafe(live(history), loop).result()

    await asyncio.to_thread(check)


async def spoil(database: Database) -> None:
    async with database.unit_of_work() as uow:
        await uow._session.execute(update(SystemUsage).values(messages=SystemUsage.messages + 1, failed=7))
        await uow._session.execute(update(UsageMonthly).values(active_days=0))
        await uow._session.execute(update(AnswerTally).values(answers=9))
        await uow.commit()


TURN = Ended(
    0,
    0,
    BilledCall(
        attempt_id=new_id(),
        kind="chat",
        message_id=None,
        model="a/one",
        provider=None,
        generation_id=None,
        prompt_tokens=10,
        completion_tokens=1,
        cached_tokens_read=0,
        cached_tokens_write=0,
        cost_usd=Decimal("0.01"),
        cache_discount_usd=None,
        messages=1,
    ),
    (),
    {
        "model": "a/one",
        "status": "completed",
        "error_code": None,
        "begins_conversation": True,
        "is_truncated": False,
        "fallback_used": False,
        "schema_passed": None,
        "cache_outcome": "hit",
        "preset_id": None,
        "first_token_ms": 250,
        "latency_ms": 900,
    },
    True,
)


async def test_a_turn_and_its_facts_stand_in_one_row_of_the_house(house: House) -> None:
    for _ in range(3):
        await house.end(TURN)

    async with house.database.read_only() as uow:
        (row,) = (await uow._session.scalars(select(SystemUsage))).all()
    assert (row.messages, row.answers, row.conversations, row.cost_usd) == (3, 3, 3, Decimal("0.03"))


async def test_folding_leaves_one_row_a_sum_and_spares_what_is_written_to(house: House) -> None:
    await asyncio.gather(*(house.end(replace(TURN, person=person)) for person in (0, 1)))
    await house.end(replace(TURN, hours=30))
    await house.fold(20)

    async with house.database.read_only() as uow:
        rows = (await uow._session.scalars(select(SystemUsage).order_by(SystemUsage.slot))).all()
    assert [(row.shard == FOLDED, row.messages) for row in rows] == [(True, 2), (False, 1)]


async def test_days_on_which_somebody_asked_are_counted_once(house: House) -> None:
    for hours in (0, 1, 24):
        await house.end(replace(TURN, hours=hours))
    await house.end(replace(TURN, hours=48, call=replace(TURN.call, kind="late_bill"), facts=None))

    async with house.database.read_only() as uow:
        months = {row.month: row.active_days for row in (await uow._session.scalars(select(UsageMonthly))).all()}
    assert months == {date(2026, 10, 1): 1 << 29 | 1 << 30, date(2026, 11, 1): 0}


async def test_without_tracking_nothing_is_summed_but_the_ledger_is_whole(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    house = await House.open(database, database_url, tmp_path)
    made = make_settings(
        database_url=database_url,
        data_dir=tmp_path,
        openrouter_url="http://127.0.0.1:9/api/v1",
        usage_tracking_enabled=False,
    )
    house.quotas = QuotaService(settings=lambda: made)
    await house.end(TURN)

    assert (await house.totals(UsageEvent))[0] == 1
    assert [(await house.totals(table))[0] for table in (UsageDaily, UsageMonthly, SystemUsage)] == [0, 0, 0]


@pytest.mark.parametrize("change", ["UPDATE answer_facts SET status = 'failed'", "DELETE FROM answer_facts"])
async def test_facts_are_never_changed(house: House, change: str) -> None:
    await house.end(TURN)

    async with house.database.unit_of_work() as uow:
        with pytest.raises(DBAPIError, match="append-only"):
            await uow._session.execute(text(change))
