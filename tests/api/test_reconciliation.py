"""Turns that end without a bill: each is charged once, by what OpenRouter says in the end."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.db.models import Message, MessageAttempt, QuotaLease, UnbilledCall, UsageEvent
from app.domain.ledger import Projection
from app.domain.plans import PlanTier
from app.services.quota_service import QuotaService
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.integration.test_quotas import make_call
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


class Clock:
    """The real time, moved forward by hand."""

    ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


async def rows(app: ServedApp, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(table))).all())


async def reconcile(app: ServedApp, clock: Clock, openrouter: EmulatorProcess, *, after: float) -> None:
    """Let ``after`` seconds pass here and at OpenRouter, then look for what is due."""
    clock.ahead += timedelta(seconds=after)
    openrouter.advance(after)
    await app.services.reconciliation.run_once()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(serve_app: Serve, clock: Clock) -> ServedApp:
    """An app whose reconciliation runs only when it is told to."""
    return await serve_app(clock=clock, reconcile_interval_seconds=3600)


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan."""
    return await join_app(app, plan=PlanTier.PREMIUM)


async def test_an_answer_without_a_bill_is_charged_when_the_record_is_there(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("no_usage", times=1)
    answer = (await person.chat(await person.begin())).json()
    before = await person.usage()
    await reconcile(app, clock, openrouter, after=6)

    assert answer["total_cost_usd"] is None
    assert (before["messages"]["used"], before["total_cost_usd"]) == (1, 0)
    after = await person.usage()
    billed = Decimal(str(openrouter.bill()["total"]))
    assert billed > 0
    assert (after["messages"]["used"], Decimal(str(after["total_cost_usd"]))) == (1, billed)
    assert after["tokens"]["used"] > 0
    assert sum(each.cost_usd or 0 for each in await rows(app, UsageEvent)) == billed
    assert await rows(app, UnbilledCall) == []
    (message,) = [each for each in await rows(app, Message) if each.role == "assistant"]
    assert (message.is_provisional, message.total_cost_usd) == (False, billed)


async def test_a_prompt_told_as_nothing_takes_its_length_from_the_record(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(load_balancing=False)
    conversation_id = await person.begin()
    model = {"model": "openai/gpt-4.1-mini"}
    await person.chat(conversation_id, "What is prayer made of? " * 400, **model)
    for fault in ("zero_prompt_tokens", "bare_usage"):
        openrouter.fault(fault, times=1)
    answer = (await person.chat(conversation_id, **model)).json()
    assert (answer["usage"]["prompt_tokens"], answer["total_cost_usd"]) == (0, None)
    await reconcile(app, clock, openrouter, after=6)

    assert await rows(app, UnbilledCall) == []
    assert sum(each.cost_usd or 0 for each in await rows(app, UsageEvent)) == Decimal(str(openrouter.bill()["total"]))
    (message,) = [each for each in await rows(app, Message) if str(each.id) == answer["message_id"]]
    assert message.prompt_tokens >= message.cached_tokens_read > 1_024


async def test_a_late_bill_and_a_ledger_that_is_rebuilt_wait_for_each_other_in_one_order(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("no_usage", times=2)
    conversation_id = await person.begin()
    await person.chat(conversation_id)
    await reconcile(app, clock, openrouter, after=6)  # the day has a line for late bills now
    await person.chat(conversation_id)

    async with app.services.database.unit_of_work() as uow:
        await uow.ledger.get_months(person.user_id, lock=True)
        late = asyncio.create_task(reconcile(app, clock, openrouter, after=6))
        await asyncio.sleep(0.3)
        days, calendar = await uow.ledger.get_days(person.user_id), await uow.ledger.get_calendar(person.user_id)
        await uow.ledger.rewrite_sums(person.user_id, Projection(days=days, calendar=calendar))
        await uow.commit()
    await late

    assert await rows(app, UnbilledCall) == []
    assert sum(each.cost_usd or 0 for each in await rows(app, UsageEvent)) == Decimal(str(openrouter.bill()["total"]))


async def test_reconciling_again_charges_nothing_more(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("no_usage", times=1)
    await person.chat(await person.begin())
    clock.ahead = timedelta(seconds=6)
    openrouter.advance(6)

    await asyncio.gather(*(app.services.reconciliation.run_once() for _ in range(3)))
    await app.services.reconciliation.run_once()

    events = await rows(app, UsageEvent)
    assert sorted(each.kind for each in events) == ["chat", "late_bill"]


async def test_a_cut_stream_is_looked_up_and_paid_by_the_house(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("cut_after_tokens", params={"tokens": 20})
    events = await person.stream(await person.begin())
    before = [each.is_provisional for each in await rows(app, Message) if each.role == "assistant"]
    await reconcile(app, clock, openrouter, after=6)

    assert events[-1].name == "message.failed"
    after = [each.is_provisional for each in await rows(app, Message) if each.role == "assistant"]
    assert (before, after) == ([True], [False])
    usage = await person.usage()
    assert (usage["messages"]["used"], usage["total_cost_usd"], usage["messages"]["reserved"]) == (0, 0, 0)
    ledger = await rows(app, UsageEvent)
    assert {each.kind for each in ledger} == {"lost_attempt"}
    assert sum(each.cost_usd or 0 for each in ledger) == Decimal(str(openrouter.bill()["total"])) > 0


async def test_a_record_that_is_not_there_yet_is_asked_for_again(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("no_usage", times=1)
    openrouter.fault("generation_404", times=1)
    await person.chat(await person.begin())
    await reconcile(app, clock, openrouter, after=6)
    (waiting,) = await rows(app, UnbilledCall)
    await reconcile(app, clock, openrouter, after=30)

    assert waiting.tries == 1
    assert await rows(app, UnbilledCall) == []
    assert (await person.usage())["total_cost_usd"] > 0


async def test_a_dead_processes_turn_is_closed_and_its_bill_asked_for(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(tokens_per_second=20)
    stream = asyncio.create_task(person.stream(await person.begin(), model="openai/gpt-4o"))
    while not [each for each in await rows(app, QuotaLease) if each.generation_id]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    # As if the process had stopped beating for a minute.
    async with app.services.database.unit_of_work() as uow:
        (lease,) = await uow.quotas.list_held(limit=10)
        now = datetime.now(UTC)
        await uow.quotas.extend_leases([(lease.user_id, lease.id)], now=now, until=now - timedelta(seconds=1))
        await uow.commit()
    await app.services.reconciliation.run_once()

    (message,) = [each for each in await rows(app, Message) if each.role == "assistant"]
    assert (message.status, message.is_provisional) == ("interrupted", True)
    assert (await person.usage())["messages"]["reserved"] == 0
    (attempt,) = await rows(app, MessageAttempt)
    (bill,) = await rows(app, UnbilledCall)
    assert attempt.generation_id == bill.generation_id == lease.generation_id

    # The process was only slow: it closes the turn after all, and the charge counts once.
    openrouter.configure(tokens_per_second=0)
    events = await stream
    assert events[-1].name == "message.completed"
    assert await rows(app, UnbilledCall) == []
    assert (await person.usage())["messages"] == {"used": 1, "limit": 2000, "remaining": 1999, "reserved": 0}
    assert [each.outcome for each in await rows(app, MessageAttempt)] == ["completed"]


async def test_a_running_turn_keeps_its_lease_alive(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(quota_lease_seconds=1, reconcile_interval_seconds=0.2)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    openrouter.configure(first_token_delay=2.5)

    turn = asyncio.create_task(person.chat(await person.begin()))
    await asyncio.sleep(1.8)

    assert (await person.usage())["messages"]["reserved"] == 1
    assert (await turn).status_code == 200
    assert (await person.usage())["messages"] == {"used": 1, "limit": 2000, "remaining": 1999, "reserved": 0}
    assert [each.state for each in await rows(app, QuotaLease)] == ["settled"]
    (message,) = [each for each in await rows(app, Message) if each.role == "assistant"]
    assert message.status == "completed"


async def test_a_bill_that_never_comes_is_given_up_after_a_day_and_the_rounds_go_on(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("no_usage", times=1)
    openrouter.fault("generation_404")
    await person.chat(await person.begin())
    for _ in range(70):
        clock.ahead += timedelta(minutes=31)
        await app.services.reconciliation.run_once()

    (given_up,) = await rows(app, UnbilledCall)
    assert given_up.next_try_at is None
    assert given_up.tries > 44


async def test_one_bill_that_cannot_be_written_does_not_hold_up_the_others(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation_id = await person.begin()
    openrouter.fault("no_usage", times=2)
    first = (await person.chat(conversation_id)).json()
    await person.chat(conversation_id)
    record = QuotaService.record

    async def refusing(
        self: QuotaService, uow: Any, user_id: Any, plan: Any, period: Any, call: Any, **rest: Any
    ) -> None:
        if str(call.message_id) == first["message_id"]:
            raise IntegrityError("INSERT", {}, Exception("refused"))
        await record(self, uow, user_id, plan, period, call, **rest)

    monkeypatch.setattr(QuotaService, "record", refusing)
    await reconcile(app, clock, openrouter, after=6)

    (waiting,) = await rows(app, UnbilledCall)
    assert str(waiting.message_id) == first["message_id"]
    assert (waiting.tries, (await person.usage())["total_cost_usd"] > 0) == (1, True)


async def test_a_turn_thought_lost_and_billed_is_in_the_ledger_once(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(first_token_delay=2)
    stream = asyncio.create_task(person.stream(await person.begin(), model="openai/gpt-4o"))
    while not [each for each in await rows(app, QuotaLease) if each.generation_id]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    (lease,) = await rows(app, QuotaLease)
    async with app.services.database.unit_of_work() as uow:
        await uow.quotas.end_lease(lease.user_id, lease.id, state="expired")
        await app.services.reconciliation._quotas.record(
            uow,
            lease.user_id,
            lease.plan,
            (await app.services.subscriptions.get(person.user_id)).period,
            make_call(cost_usd=Decimal("0.0001"), kind="lost_attempt", generation_id=lease.generation_id),
            now=datetime.now(UTC),
        )
        await uow.commit()

    await stream

    total = sum(each.cost_usd or 0 for each in await rows(app, UsageEvent))
    assert total == Decimal(str(openrouter.bill()["total"]))
    assert (await person.usage())["messages"]["used"] == 1
