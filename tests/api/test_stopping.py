"""Stopping an answer: what came is kept, the call upstream is closed, and what was billed is charged once."""

import asyncio
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from app.core.clock import utc_now
from app.db.models import Message, MessageAttempt, QuotaLease, UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person, parse_events
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

STOPS, BILLS_ON = "openai/gpt-4o", "google/gemini-2.5-flash"
"""Models whose hosts end the bill with the call, and whose hosts do not."""


@pytest.fixture
async def person(app: ServedApp, join_app: Join, openrouter: EmulatorProcess) -> Person:
    openrouter.configure(tokens_per_second=60, generation_delay=0)
    return await join_app(app, plan=PlanTier.PREMIUM)


async def stop(person: Person, message_id: str) -> httpx2.Response:
    return await person.http.post(f"/api/v1/chat/messages/{message_id}/stop")


async def stop_after(person: Person, events: int, **body: Any) -> tuple[list[Event], dict[str, Any]]:
    """Ask, stop when so many events came, read to the end: the events, and what the stop answered."""
    asked = {"conversation_id": await person.begin(), "message": "What is patience?", "stream": True, **body}
    text, stopped = "", None
    async with person.http.stream("POST", "/api/v1/chat", json=asked) as answer:
        async for piece in answer.aiter_text():
            text += piece
            if stopped is None and text.count("\n\n") >= events:
                stopped = asyncio.create_task(stop(person, parse_events(text)[0].data["message_id"]))
    assert stopped is not None
    response = await stopped
    assert response.status_code == 200, response.text
    return parse_events(text), response.json()


async def receive_bills(app: ServedApp, person: Person) -> None:
    """Let hours pass, as far as the reconciliation can tell, until no bill is still to come."""
    for hours in range(1, 12):
        app.services.reconciliation._clock = lambda hours=hours: utc_now() + timedelta(hours=hours)
        await app.services.reconciliation.run_once()
        async with app.services.database.read_only() as uow:
            if await uow.bills.count_unbilled(person.user_id) == 0:
                return
        await asyncio.sleep(0.05)


async def rows(app: ServedApp, person: Person, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list(await uow._session.scalars(select(table).where(table.user_id == person.user_id)))


async def stored_answer(app: ServedApp, person: Person) -> Message:
    (message,) = [each for each in await rows(app, person, Message) if each.role == "assistant"]
    return message  # type: ignore[no-any-return]


def text_of(events: list[Event]) -> str:
    return "".join(each.data["text"] for each in events if each.name == "content.delta")


async def test_a_stopped_answer_keeps_what_was_shown(app: ServedApp, person: Person) -> None:
    events, told = await stop_after(person, 6, model=STOPS)

    assert events[-1].name == "message.stopped"
    assert told == {"message_id": events[0].data["message_id"], "status": "stopped", "ending": events[-1].data}
    assert events[-1].data["content"] == text_of(events) != ""
    message = await stored_answer(app, person)
    assert (message.status, message.content, message.event_count) == ("stopped", text_of(events), len(events))
    (attempt,) = await rows(app, person, MessageAttempt)
    assert attempt.outcome == "stopped"


@pytest.mark.parametrize(("model", "billing"), [(STOPS, "stops"), (BILLS_ON, "continues")])
async def test_the_bill_that_comes_later_is_charged_once(
    app: ServedApp, person: Person, openrouter: EmulatorProcess, model: str, billing: str
) -> None:
    events, _ = await stop_after(person, 6, model=model)
    assert events[-1].data["billing"] == billing
    assert (await stored_answer(app, person)).is_provisional
    await receive_bills(app, person)
    await receive_bills(app, person)

    billed = Decimal(openrouter.bill()["total"])
    message, ledger = await stored_answer(app, person), await rows(app, person, UsageEvent)
    assert billed > 0
    assert sum(each.cost_usd or 0 for each in ledger) == message.total_cost_usd == billed
    assert not message.is_provisional
    usage = await person.usage()
    assert usage["messages"]["used"] == 1
    assert usage["messages"]["reserved"] == usage["tokens"]["reserved"] == 0
    assert Decimal(str(usage["total_cost_usd"])) == billed
    assert [each.state for each in await rows(app, person, QuotaLease)] == ["settled"]


async def test_upstream_sees_the_end_within_a_second(person: Person, openrouter: EmulatorProcess) -> None:
    openrouter.configure(tokens_per_second=5)  # the whole answer would take a minute
    took: list[float] = []
    while len(took) < 3 and min(took, default=60) >= 1:  # a busy machine may be late, but hardly each time
        await stop_after(person, 4, model=STOPS)
        stopped = time.monotonic()
        while openrouter.questions()[-1]["aborted_at"] is None:
            assert time.monotonic() - stopped < 10, "the model goes on writing, and is paid for it"
            await asyncio.sleep(0.02)
        took.append(time.monotonic() - stopped)

    assert min(took) < 1
    assert openrouter.questions()[-1]["client_disconnected"]


@pytest.mark.parametrize("events", range(1, 9))
async def test_wherever_it_is_stopped_the_stored_text_is_what_was_shown(
    app: ServedApp, person: Person, events: int
) -> None:
    read, _ = await stop_after(person, events, model=STOPS)
    message = await stored_answer(app, person)

    assert read[-1].name == "message.stopped"
    assert message.content == text_of(read) == read[-1].data["content"]


async def test_before_any_host_began_nothing_is_charged(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("slow_headers")
    events, _ = await stop_after(person, 1, model=STOPS)

    assert (events[-1].name, events[-1].data["billing"]) == ("message.stopped", "nothing")
    assert (await person.usage())["messages"] == {"used": 0, "limit": 2000, "remaining": 2000, "reserved": 0}
    assert await rows(app, person, UsageEvent) == []


async def test_a_waiting_caller_gets_what_came(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    asked = asyncio.create_task(person.chat(conversation_id, model=STOPS))
    while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    messages = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
    told = (await stop(person, messages[-1]["id"])).json()
    answer = await asked

    assert answer.status_code == 200
    assert answer.json() == told["ending"]
    assert answer.json()["stop_reason"] == "stopped"


async def test_stopping_twice_or_too_late_changes_nothing(person: Person) -> None:
    events, first = await stop_after(person, 3, model=STOPS)
    again = (await stop(person, events[0].data["message_id"])).json()
    assert again == first

    whole = await person.stream(await person.begin(), model=STOPS)
    late = (await stop(person, whole[0].data["message_id"])).json()
    assert (late["status"], late["ending"]) == ("completed", whole[-1].data)


async def test_a_stopped_answer_is_told_the_same_when_its_log_is_forgotten(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(tokens_per_second=60)
    app = await serve_app(answer_log_keep_seconds=0)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    events, _ = await stop_after(person, 4, model=STOPS)
    message_id = events[0].data["message_id"]
    await asyncio.sleep(0.05)
    answer = await person.http.get(f"/api/v1/chat/messages/{message_id}/stream")

    (told,) = parse_events(answer.text)
    assert (told.id, told.name) == (len(events), "message.stopped")
    assert told.data["content"] == events[-1].data["content"]


async def test_the_conversation_goes_on_behind_a_stopped_answer(person: Person, openrouter: EmulatorProcess) -> None:
    events, _ = await stop_after(person, 6, model=STOPS)
    conversation_id = events[0].data["conversation_id"]
    openrouter.configure(tokens_per_second=0)

    answer = await person.chat(conversation_id, "Go on.", model=STOPS)

    assert answer.status_code == 200
    sent = openrouter.requests(session_id=conversation_id)[-1]["body"]["messages"]
    assert text_of(events) in {each["content"] for each in sent if isinstance(each["content"], str)} | {
        part["text"] for each in sent if isinstance(each["content"], list) for part in each["content"]
    }


async def test_the_same_key_repeats_a_stopped_answer(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    body = {"conversation_id": conversation_id, "message": "What is patience?", "model": STOPS, "stream": True}
    headers = {"Idempotency-Key": "once"}
    text, stopped = "", None
    async with person.http.stream("POST", "/api/v1/chat", json=body, headers=headers) as answer:
        async for piece in answer.aiter_text():
            text += piece
            if stopped is None and text.count("\n\n") >= 4:
                stopped = asyncio.create_task(stop(person, parse_events(text)[0].data["message_id"]))
    again = await person.http.post("/api/v1/chat", json=body | {"stream": False}, headers=headers)

    assert again.json() == parse_events(text)[-1].data
    assert len(openrouter.requests(session_id=conversation_id)) == 1


async def test_an_answer_nobody_reads_is_stopped_where_the_operator_says_so(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(tokens_per_second=20)
    app = await serve_app(on_disconnect="cancel", on_disconnect_cancel_seconds=0.2)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    body = {"conversation_id": await person.begin(), "message": "What is patience?", "model": STOPS}
    async with person.http.stream("POST", "/api/v1/chat", json=body | {"stream": True}) as answer:
        async for line in answer.aiter_lines():
            if line == "event: content.delta":
                break
    await _until_ended(app, person)

    message = await stored_answer(app, person)
    assert message.status == "stopped"
    assert message.content
    with pytest.raises(httpx2.ReadTimeout):  # who waits for a whole answer may leave too
        await person.http.post("/api/v1/chat", json=body | {"conversation_id": await person.begin()}, timeout=0.5)
    await _until_ended(app, person)
    assert {each.status for each in await rows(app, person, Message) if each.role == "assistant"} == {"stopped"}


async def _until_ended(app: ServedApp, person: Person) -> None:
    while any(each.status == "pending" for each in await rows(app, person, Message)):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
