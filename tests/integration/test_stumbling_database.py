"""Turns are closed though the database stumbles, and writers of one process wait for each other in order."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

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
