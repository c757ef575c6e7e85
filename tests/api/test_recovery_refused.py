"""``STREAM_RECOVERY=fail``: what broke off after text was shown ends the turn; what broke before is mended as ever."""

from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import Message, UsageEvent
from app.domain.plans import PlanTier
from app.openrouter.retries import RetryPolicy
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person, parse_events
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
FIRST, SECOND = "anthropic/claude-sonnet-5.5", "openai/gpt-4o"
AFTER_TEXT = {
    "cut_after_tokens": "truncated_stream",
    "break_after_tokens": "truncated_stream",
    "no_finish_reason": "truncated_stream",
    "stall_after_tokens": "upstream_timeout",
    "malformed_chunk": "unreadable_answer",
    "error_chunk": "upstream_unavailable",
    "error_in_choice": "upstream_unavailable",
}
BEFORE_TEXT = ("empty_body", "http_503", "error_200", "html_200", "stall_before_first")
MODELS: dict[str, Any] = {"model": FIRST, "fallback_models": [SECOND]}
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


@pytest.fixture
async def app(serve_app: Serve) -> ServedApp:
    app = await serve_app(
        stream_recovery="fail",
        routing_strategy="fallback",
        openrouter_first_token_timeout_seconds=0.5,
        openrouter_silence_timeout_seconds=0.5,
    )
    app.services.openrouter._retries = RetryPolicy(first_wait=0.01)
    return app


@pytest.fixture
async def person(app: ServedApp, join_app: Join, openrouter: EmulatorProcess) -> Person:
    openrouter.configure(generation_delay=0)
    return await join_app(app, plan=PlanTier.PREMIUM)


def shown(events: list[Event]) -> str:
    assert "content.reset" not in {each.name for each in events}
    return "".join(each.data["text"] for each in events if each.name == "content.delta")


async def stored(app: ServedApp, person: Person) -> Message:
    async with app.services.database.read_only() as uow:
        query = select(Message).where(Message.user_id == person.user_id, Message.role == "assistant")
        return (await uow._session.scalars(query)).one()


async def is_free(app: ServedApp, person: Person) -> None:
    """The turn cost the person nothing, nor will it: what the calls cost is the house's."""
    await app.services.reconciliation.run_once()
    usage = await person.usage()
    async with app.services.database.read_only() as uow:
        lines = await uow._session.scalars(select(UsageEvent).where(UsageEvent.user_id == person.user_id))
        assert {each.kind for each in lines} <= {"lost_attempt"}
    assert [float(usage[meter]["used"]) for meter in ("messages", "tokens", "cost")] == [0, 0, 0]


@pytest.mark.parametrize("fault", AFTER_TEXT)
async def test_what_breaks_off_after_text_keeps_the_text_and_fails(
    app: ServedApp, person: Person, openrouter: EmulatorProcess, fault: str
) -> None:
    openrouter.fault(fault, model=FIRST)
    conversation_id = await person.begin()
    events = await person.stream(conversation_id, "What is patience?", **MODELS)

    assert events[-1].name == "message.failed"
    assert [each["error"] for each in events[-1].data["attempts"]] == [AFTER_TEXT[fault]]
    message = await stored(app, person)
    assert message.status == "failed"
    assert message.content == shown(events) != ""
    await is_free(app, person)
    resumed = await person.http.get(f"/api/v1/chat/messages/{message.id}/stream", params={"after": events[-2].id})
    assert [each.name for each in parse_events(resumed.text)] == ["message.failed"]


@pytest.mark.parametrize("fault", BEFORE_TEXT)
async def test_what_breaks_before_text_is_asked_for_elsewhere(
    person: Person, openrouter: EmulatorProcess, fault: str
) -> None:
    openrouter.fault(fault, model=FIRST)
    events = await person.stream(await person.begin(), "What is patience?", **MODELS)

    assert events[-1].name == "message.completed"
    assert events[-1].data["fallback_used"]
    assert events[-1].data["content"] == shown(events)


async def test_who_does_not_stream_is_told_the_same(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("cut_after_tokens", model=FIRST)
    answer = await person.chat(await person.begin(), "What is patience?", **MODELS)

    assert answer.status_code == 502
    assert answer.json()["error"] == "upstream_failed"
    assert (await stored(app, person)).content != ""
    await is_free(app, person)


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_data_by_a_schema_that_breaks_off_fails_without_data(
    app: ServedApp, person: Person, openrouter: EmulatorProcess, is_streamed: bool
) -> None:
    openrouter.fault("cut_after_tokens", model=FIRST, params={"tokens": 3})
    body = {"message": "What is patience?", "response_schema": SCHEMA, "stream": is_streamed, **MODELS}
    answer = await person.http.post("/api/v1/chat/structured", json={"conversation_id": await person.begin(), **body})

    if is_streamed:
        events = parse_events(answer.text)
        assert events[-1].name == "message.failed"
        assert "content.reset" not in {each.name for each in events}
    else:
        assert answer.status_code == 502
    message = await stored(app, person)
    assert (message.status, message.structured_data, message.schema_validation_passed) == ("failed", None, False)
    await is_free(app, person)


async def test_a_failed_answer_can_be_asked_for_again_and_goes_along_as_far_as_it_was_shown(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("cut_after_tokens", model=FIRST, times=1)
    conversation_id = await person.begin()
    events = await person.stream(conversation_id, "What is patience?", **MODELS)
    failed_id = events[0].data["message_id"]

    again = await person.http.post(f"/api/v1/chat/messages/{failed_id}/regenerate", json=MODELS)
    assert again.status_code == 200, again.text
    follow_up = await person.chat(conversation_id, "And in hardship?", parent_id=failed_id, **MODELS)
    assert follow_up.status_code == 200, follow_up.text
    sent = openrouter.requests(session_id=conversation_id)[-1]["body"]["messages"]
    assert [each["role"] for each in sent] == ["system", "user", "assistant", "user"]
    assert sent[2]["content"] == shown(events)
