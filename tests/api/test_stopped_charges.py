"""A stream stopped after each of its pieces: the person is charged what OpenRouter bills for it in the end."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from app.db.models import Message, QuotaLease, UnbilledCall, UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
PIECES = 12


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def app(serve_app: Serve, clock: MovedClock) -> ServedApp:
    """An app whose reconciliation runs only when it is told to."""
    return await serve_app(clock=clock, reconcile_interval_seconds=3600)


async def stop_after(app: ServedApp, person: Person, pieces: int, model: str) -> dict[str, Any]:
    """Ask, read so many pieces of the answer, stop it; what the stop said.

    Stopped before the first piece is stopped once OpenRouter has named the call: what it never named has no bill that
    could be asked for.
    """
    body = {"conversation_id": await person.begin(), "message": "What is patience?", "stream": True}
    body |= {"model": model, "fallback_models": [], "max_tokens": PIECES}
    seen = 0
    message_id = ""
    async with person.http.stream("POST", "/api/v1/chat", json=body) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and not message_id:
                message_id = line.split('"message_id":"')[1][:36]
            seen += line == "event: content.delta"
            if message_id and seen == pieces:
                break
        await until_named(app, UUID(message_id))
        told = await person.http.post(f"/api/v1/chat/messages/{message_id}/stop")
    assert told.status_code == 200, told.text
    found: dict[str, Any] = told.json()
    return found


async def until_named(app: ServedApp, message_id: UUID) -> None:
    named = select(QuotaLease.generation_id).where(QuotaLease.message_id == message_id)
    for _ in range(500):
        async with app.services.database.read_only() as uow:
            if (await uow._session.scalars(named)).one() is not None:
                return
        await asyncio.sleep(0.01)
    raise AssertionError("OpenRouter did not name the call")


async def rows(app: ServedApp, person: Person, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(table).where(table.user_id == person.user_id))).all())


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("openai/gpt-4o-mini", id="a host that stops billing"),
        pytest.param("google/gemini-2.5-flash", id="a host that bills the whole answer"),
    ],
)
async def test_whatever_piece_it_is_stopped_after_the_charge_is_the_bill(
    app: ServedApp, join_app: Join, openrouter: EmulatorProcess, clock: MovedClock, model: str
) -> None:
    person = await join_app(app, plan=PlanTier.PREMIUM)
    openrouter.configure(tokens_per_second=5, first_token_delay=0.3)

    told = await asyncio.gather(*(stop_after(app, person, pieces, model) for pieces in range(PIECES + 1)))
    clock.advance(60, openrouter)
    await app.services.reconciliation.run_once()

    statuses = [each["status"] for each in told]
    assert statuses.count("stopped") >= PIECES - 2  # the last ones may have been whole already
    assert statuses[0] == "stopped"
    assert len({each["ending"]["content"] for each in told}) > PIECES // 2  # places it was stopped at
    assert await rows(app, person, UnbilledCall) == []
    bills = {each["generation_id"]: Decimal(each["cost"]) for each in openrouter.bill()["generations"]}
    answers = {each.id: each for each in await rows(app, person, Message) if each.role == "assistant"}
    events = await rows(app, person, UsageEvent)
    assert len(answers) == len(told)
    for message in answers.values():
        charged = sum(each.cost_usd or 0 for each in events if each.message_id == message.id)
        billed = bills.get(message.generation_id, Decimal(0))
        assert (message.is_provisional, message.total_cost_usd or 0, charged) == (False, billed, billed)
    usage = await person.usage()
    assert Decimal(str(usage["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"])) > 0
    assert usage["messages"]["reserved"] == usage["tokens"]["reserved"] == usage["cost"]["reserved"] == 0
    counted = sum(each["status"] == "completed" or each["ending"].get("billing") != "nothing" for each in told)
    assert usage["messages"]["used"] == counted
