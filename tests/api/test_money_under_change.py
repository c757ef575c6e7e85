"""Plans, agreements and clocks change while a turn runs; limits are nothing at all. The books stay right."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from app.core.clock import utc_now
from app.db.models import UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def app(serve_app: Serve, clock: MovedClock) -> ServedApp:
    return await serve_app(clock=clock, reconcile_interval_seconds=3600)


async def agree(app: ServedApp, person: Person, *, until: timedelta | None = None, **limits: int | Decimal) -> None:
    now = utc_now()
    async with app.services.database.unit_of_work() as uow:
        await uow.overrides.put(
            person.user_id, limits, reason="test", expires_at=now + until if until else None, now=now
        )
        await uow.commit()


async def ask_slowly(person: Person, openrouter: EmulatorProcess) -> "asyncio.Task[Any]":
    """A question whose answer has not begun yet."""
    openrouter.configure(first_token_delay=0.6)
    conversation_id = await person.begin()
    asking = asyncio.create_task(person.chat(conversation_id))
    while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    return asking


async def lines(app: ServedApp, person: Person) -> list[UsageEvent]:
    async with app.services.database.read_only() as uow:
        found = await uow._session.scalars(select(UsageEvent).where(UsageEvent.user_id == person.user_id))
        return list(found.all())


async def test_a_smaller_plan_in_mid_turn_charges_the_turn_to_the_plan_it_began_on(
    app: ServedApp, join_app: Join, openrouter: EmulatorProcess
) -> None:
    person = await join_app(app, plan=PlanTier.PREMIUM)
    asking = await ask_slowly(person, openrouter)
    async with app.services.database.unit_of_work() as uow:
        row = await uow.subscriptions.require(person.user_id, for_update=True)
        row.plan = PlanTier.FREE
        await uow.commit()

    assert (await asking).status_code == 200
    (line,) = await lines(app, person)
    assert line.plan is PlanTier.PREMIUM
    assert (await person.usage())["messages"] == {"used": 1, "limit": 100, "remaining": 99, "reserved": 0}


async def test_an_agreement_that_ends_in_mid_turn_ends_for_the_next_one(
    app: ServedApp, join_app: Join, openrouter: EmulatorProcess, clock: MovedClock
) -> None:
    person = await join_app(app)
    await agree(app, person, until=timedelta(minutes=5), messages_per_month=1)
    await agree(app, person, until=timedelta(minutes=5), tokens_per_month=50_000)
    asking = await ask_slowly(person, openrouter)
    clock.ahead += timedelta(minutes=6)

    assert (await asking).status_code == 200
    assert (await person.usage())["messages"] == {"used": 1, "limit": 100, "remaining": 99, "reserved": 0}
    assert (await person.chat(await person.begin())).status_code == 200


@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(days=40), timedelta(days=366)], ids=str)
async def test_a_clock_that_jumps_in_mid_turn_charges_once_and_where_it_began(
    app: ServedApp, join_app: Join, openrouter: EmulatorProcess, clock: MovedClock, jump: timedelta
) -> None:
    person = await join_app(app)
    before = (await person.usage())["period"]
    asking = await ask_slowly(person, openrouter)
    clock.ahead += jump
    await app.services.reconciliation.run_once()  # where the lease is over now, it is swept

    assert (await asking).status_code == 200
    clock.ahead -= jump
    usage = await person.usage()
    assert usage["period"] == before
    assert (usage["messages"]["used"], usage["messages"]["reserved"]) == (1, 0)
    (line,) = await lines(app, person)
    billed = Decimal(str(openrouter.bill()["total"]))
    assert line.cost_usd == Decimal(str(usage["total_cost_usd"])) == billed


@pytest.mark.parametrize(
    ("limits", "status", "detail"),
    [
        ({"messages_per_month": 0}, 400, "Monthly message limit reached (0)"),
        ({"tokens_per_month": 0}, 400, "Monthly token limit reached (0)"),
        ({"cost_ceiling_usd_per_month": Decimal(0)}, 400, "Monthly cost limit reached ($0.00)"),
        ({"max_context_tokens": 0}, 400, "tokens"),
        ({"max_context_tokens": 1}, 400, "tokens"),
    ],
    ids=str,
)
async def test_limits_of_nothing_refuse_in_words_and_hold_nothing(
    app: ServedApp, join_app: Join, openrouter: EmulatorProcess, limits: dict[str, Any], status: int, detail: str
) -> None:
    person = await join_app(app)
    await agree(app, person, **limits)
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id)

    assert answer.status_code == status
    assert detail in answer.json()["detail"]
    assert openrouter.requests(session_id=conversation_id) == []
    assert (await person.usage())["tokens"]["reserved"] == 0
