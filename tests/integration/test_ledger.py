"""The ledger verified and rebuilt on both databases."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.db.database import Database
from app.db.models import MonthlyUsageQuota, UsageDaily
from app.services.ledger_service import LedgerService, Rebuilt
from tests.integration.test_quotas import NOW, Bench, make_call
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(database: Database, database_url: str, tmp_path: Path) -> Bench:
    return await Bench.open(database, database_url, tmp_path)


@pytest.fixture
def ledger(bench: Bench, database: Database) -> LedgerService:
    return LedgerService(settings=lambda: bench.settings, database=database, clock=lambda: NOW)


async def spoil(database: Database) -> None:
    async with database.unit_of_work() as uow:
        await uow._session.execute(update(MonthlyUsageQuota).values(tokens_used=1, cost_usd=Decimal("9.99")))
        await uow._session.execute(delete(UsageDaily))
        await uow.commit()


async def test_what_turns_wrote_verifies(bench: Bench, ledger: LedgerService) -> None:
    for _ in range(3):
        await bench.settle(await bench.reserve())
    lost = await bench.reserve()
    async with bench.database.unit_of_work() as uow:
        await bench.quotas.release(uow, lost, lost=[make_call(cost_usd=Decimal("0.1"), kind="lost_attempt")], now=NOW)
        await uow.commit()

    result = await ledger.verify()
    assert (result.accounts, result.lines, result.differences) == (1, 4, ())


async def test_a_spoiled_sum_is_found_and_put_right(bench: Bench, ledger: LedgerService, database: Database) -> None:
    for _ in range(3):
        await bench.settle(await bench.reserve())
    before = await bench.usage()
    await spoil(database)

    found = {(each.table, each.column) for each in (await ledger.verify()).differences}
    assert ("monthly_usage_quotas", "cost_usd") in found
    assert ("usage_daily", "requests") in found
    assert await ledger.rebuild() == Rebuilt(accounts=1, is_house=False)
    assert (await ledger.verify()).differences == ()
    assert await bench.usage() == before
    assert await ledger.rebuild() == Rebuilt(accounts=0, is_house=False)


async def test_rebuilding_while_turns_settle_loses_nothing(
    bench: Bench, ledger: LedgerService, database: Database
) -> None:
    leases = [await bench.reserve() for _ in range(20)]
    await spoil(database)

    await asyncio.gather(*(bench.settle(each) for each in leases), *(ledger.rebuild() for _ in range(3)))
    await ledger.rebuild()

    assert (await ledger.verify()).differences == ()
    assert (await bench.messages()).used == 20


async def test_held_leases_are_listed_with_their_state(bench: Bench, database: Database) -> None:
    lease = await bench.reserve()
    settings = make_settings(database_url="", data_dir=Path("unused"), openrouter_url="http://127.0.0.1:9/api/v1")

    def listed_at(now: datetime) -> LedgerService:
        return LedgerService(settings=lambda: settings, database=database, clock=lambda: now)

    running = await listed_at(NOW).list_leases()
    dead = await listed_at(NOW.astimezone(UTC) + timedelta(minutes=5)).list_leases()
    assert [(each.lease.id, each.is_expired) for each in (*running, *dead)] == [(lease.id, False), (lease.id, True)]


@pytest.mark.parametrize("change", ["UPDATE usage_events SET messages = 0", "DELETE FROM usage_events"])
async def test_the_database_itself_refuses_to_change_a_line(bench: Bench, database: Database, change: str) -> None:
    await bench.settle(await bench.reserve())

    async with database.unit_of_work() as uow:
        with pytest.raises(DBAPIError, match="append-only"):
            await uow._session.execute(text(change))

    async with database.read_only() as uow:
        (line,) = await uow.ledger.list_lines(bench.user_id)
    assert line.messages == 1


@pytest.mark.parametrize(
    "count", ["messages", "prompt_tokens", "completion_tokens", "cached_tokens_read", "cached_tokens_write"]
)
async def test_no_line_counts_less_than_nothing(bench: Bench, count: str) -> None:
    lease = await bench.reserve()
    call = replace(make_call(cost_usd=Decimal(0)), **{count: -1})

    async def settle() -> None:
        async with bench.database.unit_of_work() as uow:
            await bench.quotas.settle(uow, lease, call, now=NOW)

    with pytest.raises(IntegrityError):
        await settle()
    assert (await bench.usage()).balance.messages.used == 0
