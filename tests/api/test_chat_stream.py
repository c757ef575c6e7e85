"""An answer as it comes: Server-Sent Events over a real socket."""

import asyncio

import pytest
from sqlalchemy import select

from app.api import sse
from app.db.models import Message
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person, parse_events
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan: 2,000 messages, every model, caching."""
    return await join_app(app, plan=PlanTier.PREMIUM)


def text_of(events: list[Event]) -> str:
    return "".join(each.data["text"] for each in events if each.name == "content.delta")


async def wait_for_status(app: ServedApp, person: Person, status: str) -> Message:
    """The person's only answer, once it has this status."""
    query = select(Message).where(Message.user_id == person.user_id, Message.role == "assistant")
    while True:
        async with app.services.database.read_only() as uow:
            message = (await uow._session.scalars(query)).one_or_none()
        if message is not None and message.status == status:
            return message
        await asyncio.sleep(0.02)


async def test_a_stream_starts_tells_the_text_and_completes(person: Person) -> None:
    events = await person.stream(await person.begin())

    assert [each.id for each in events] == list(range(1, len(events) + 1))
    assert events[0].name == "message.started"
    assert set(events[0].data) == {"message_id", "user_message_id", "conversation_id", "model"}
    assert {each.name for each in events[1:-1]} <= {"reasoning.delta", "content.delta"}
    assert events[-1].name == "message.completed"
    assert text_of(events) == events[-1].data["content"]
    assert events[-1].data["message_id"] == events[0].data["message_id"]


async def test_the_last_event_is_the_same_object_as_a_plain_answer(person: Person) -> None:
    conversation_id = await person.begin()
    plain = (await person.chat(conversation_id)).json()
    streamed = (await person.stream(conversation_id))[-1].data

    assert set(streamed) == set(plain)
    assert {key: type(value) for key, value in streamed.items() if key != "first_token_ms"} == {
        key: type(value) for key, value in plain.items() if key != "first_token_ms"
    }


async def test_a_streamed_turn_is_charged_like_a_plain_one(person: Person, openrouter: EmulatorProcess) -> None:
    last = (await person.stream(await person.begin()))[-1].data

    usage = await person.usage()
    assert usage["messages"]["used"] == 1
    assert usage["total_cost_usd"] == last["total_cost_usd"] == float(openrouter.bill()["total"])


async def test_the_first_text_leaves_while_the_model_is_still_writing(
    person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    openrouter.configure(tokens_per_second=50)
    body = {"conversation_id": conversation_id, "message": "Take your time", "stream": True}

    async with person.http.stream("POST", "/api/v1/chat", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line == "event: content.delta":
                break
        upstream = openrouter.requests(session_id=conversation_id)[0]
    assert upstream["finished_at"] is None


async def test_leaving_does_not_stop_the_answer(app: ServedApp, person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    openrouter.configure(tokens_per_second=400)
    body = {"conversation_id": conversation_id, "message": "I shall leave early", "stream": True}
    async with person.http.stream("POST", "/api/v1/chat", json=body) as answer:
        async for line in answer.aiter_lines():
            if line == "event: content.delta":
                break

    message = await wait_for_status(app, person, "completed")

    assert message.finish_reason == "stop"
    assert not openrouter.requests(session_id=conversation_id)[0]["client_disconnected"]
    assert (await person.usage())["messages"] == {"used": 1, "limit": 2000, "remaining": 1999, "reserved": 0}


async def test_a_failed_stream_ends_with_what_was_tried_and_charges_nothing(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app(openrouter_base_url="http://127.0.0.1:9/api/v1")
    person = await join_app(app, plan=PlanTier.PREMIUM)
    events = await person.stream(await person.begin())

    assert events[0].name == "message.started"
    assert {each.name for each in events[1:-1]} == {"attempt.failed"}
    assert events[-1].name == "message.failed"
    assert events[-1].data["error"] == "upstream_failed"
    assert events[-1].data["attempts"][0]["error"] == "connection_failed"
    assert (await person.usage())["messages"]["used"] == 0


async def test_idle_streams_are_kept_open_by_comments(
    person: Person, openrouter: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.05)
    openrouter.configure(first_token_delay=0.4)

    answer = await person.chat(await person.begin(), stream=True)

    assert answer.text.count(": heartbeat\n\n") >= 3
    assert parse_events(answer.text)[-1].name == "message.completed"


async def test_older_messages_left_out_are_told_not_hidden(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app(llm_history_messages=2)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    for n in range(2):
        await person.chat(conversation_id, f"Question {n}")

    events = await person.stream(conversation_id)

    assert events[1].name == "context.trimmed"
    counts = {"kept_messages": 2, "summarised_messages": 0, "left_out_messages": 2}
    assert events[1].data == counts | {"tokens": events[1].data["tokens"]}
    assert "2 earlier messages were left out: there was no room for them." in events[-1].data["notes"]


async def test_a_stopping_server_hands_over_what_it_has(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(shutdown_grace_seconds=0.2)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    openrouter.configure(tokens_per_second=100)
    stream = asyncio.create_task(person.stream(await person.begin(), model="openai/gpt-4o"))
    await asyncio.sleep(1)

    await app.services.hub.drain(0.2)

    events = await stream
    message = await wait_for_status(app, person, "interrupted")
    assert events[-1].name == "message.interrupted"
    assert message.content == text_of(events) != ""
    assert (await person.usage())["messages"] == {"used": 0, "limit": 2000, "remaining": 2000, "reserved": 0}
