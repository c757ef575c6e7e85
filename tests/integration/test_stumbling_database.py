"""Turns are closed though the database stumbles, and writers of one process wait for each other in order."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from app.core.clock import utc_now
from app.db.database import Database
from app.domain.plans import PlanTier
from app.services.quota_service import QuotaService
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess

pytestmark = pytest.mark.anyio


async def test_a_charge_survives_a_database_that_fails_while_the_turn_closes(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await serve_app()
    person = await join_app(app, plan=PlanTier.PREMIUM)
    settle, failures = QuotaService.settle_at_once, [OperationalError("UPDATE", {}, OSError("gone"))] * 2

    async def stumbling(self: QuotaService, *arguments: Any, **options: Any) -> bool:
        done = await settle(self, *arguments, **options)
        if failures:
            raise failures.pop()  # after the work; on SQLite before the commit, on PostgreSQL after it
        return done

    monkeypatch.setattr(QuotaService, "settle_at_once", stumbling)
    answer = await person.chat(await person.begin())

    assert answer.status_code == 200
    assert failures == []
    usage = await person.usage()
    assert (usage["messages"]["used"], usage["messages"]["reserved"]) == (1, 0)
    assert usage["total_cost_usd"] == answer.json()["total_cost_usd"] == float(openrouter.bill()["total"])


async def test_many_writers_at_once_all_come_through(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app()
    person = await join_app(app, plan=PlanTier.PREMIUM)

    answers = await asyncio.gather(*(person.http.post("/api/v1/conversations", json={}) for _ in range(60)))

    assert {each.status_code for each in answers} == {201}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # only there is one writer at a time
async def test_a_writer_who_waits_for_another_process_holds_nobody_else_up(
    database: Database, database_url: str
) -> None:
    async def write() -> None:
        async with database.unit_of_work() as uow:
            await uow.idempotency.forget_older_than(utc_now())
            await uow.commit()

    with closing(sqlite3.connect(make_url(database_url).database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(write())
        started, turns = asyncio.get_running_loop().time(), 0
        while asyncio.get_running_loop().time() < started + 0.1:
            await asyncio.sleep(0)
            turns += 1
        await database.ping()
        assert turns > 50
        assert not waiting.done()
        other.execute("COMMIT")
    await waiting
