"""Reading on in an answer: after a lost connection, in a second tab, after its log was forgotten."""

import asyncio
from uuid import UUID, uuid4

import pytest

from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person, parse_events
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

TOKENS_PER_SECOND = 150
"""Slow enough to be in the middle of the answer, quick enough to wait for its end."""


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


def path_of(message_id: str) -> str:
    return f"/api/v1/chat/messages/{message_id}/stream"


async def read_on(person: Person, message_id: str, **options: object) -> tuple[int, list[Event]]:
    answer = await person.http.get(path_of(message_id), **options)  # type: ignore[arg-type]
    return answer.status_code, parse_events(answer.text)


async def leave_after(person: Person, conversation_id: str, events: int) -> tuple[str, list[Event]]:
    """Ask, read so many events and hang up: the answer's id, and what was read."""
    body = {"conversation_id": conversation_id, "message": "What is patience?", "stream": True}
    text = ""
    async with person.http.stream("POST", "/api/v1/chat", json=body) as answer:
        async for piece in answer.aiter_text():
            text += piece
            if text.count("\n\n") >= events:
                break
    read = parse_events(text[: text.rindex("\n\n")])
    return read[0].data["message_id"], read


async def test_who_comes_back_reads_on_without_loss_or_repetition(person: Person, openrouter: EmulatorProcess) -> None:
    openrouter.configure(tokens_per_second=TOKENS_PER_SECOND)
    message_id, before = await leave_after(person, await person.begin(), events=5)

    status, behind = await read_on(person, message_id, headers={"Last-Event-ID": str(before[-1].id)})

    assert status == 200
    events = before + behind
    assert [each.id for each in events] == list(range(1, len(events) + 1))
    text = "".join(each.data["text"] for each in events if each.name == "content.delta")
    assert events[-1].name == "message.completed"
    assert text == events[-1].data["content"]


async def test_a_second_tab_reads_the_same_stream(person: Person, openrouter: EmulatorProcess) -> None:
    openrouter.configure(tokens_per_second=TOKENS_PER_SECOND)
    message_id, _ = await leave_after(person, await person.begin(), events=2)

    one, other = await asyncio.gather(person.http.get(path_of(message_id)), person.http.get(path_of(message_id)))

    assert one.text == other.text
    assert parse_events(one.text)[0].name == "message.started"


async def test_after_names_the_last_event_as_the_header_does(person: Person) -> None:
    whole = await person.stream(await person.begin())
    message_id = whole[0].data["message_id"]

    for options in ({"params": {"after": 3}}, {"headers": {"Last-Event-ID": "3"}, "params": {"after": 1}}):
        _, behind = await read_on(person, message_id, **options)
        assert behind == whole[3:]


async def test_who_has_read_it_all_is_told_so(person: Person) -> None:
    whole = await person.stream(await person.begin())

    status, events = await read_on(person, whole[0].data["message_id"], params={"after": len(whole)})

    assert (status, events) == (204, [])


async def test_a_plain_answer_can_be_read_along(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    openrouter.configure(tokens_per_second=TOKENS_PER_SECOND)
    asked = asyncio.create_task(person.chat(conversation_id))
    while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    messages = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
    _, events = await read_on(person, messages[-1]["id"])

    assert events[-1].data["content"] == (await asked).json()["content"]
    assert "content.delta" in {each.name for each in events}


async def test_when_the_log_is_forgotten_the_stored_answer_is_told_by_its_last_event(
    serve_app: Serve, join_app: Join
) -> None:
    app = await serve_app(answer_log_keep_seconds=0)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    whole = await person.stream(await person.begin())
    message_id = whole[0].data["message_id"]
    await _until_forgotten(app, person, message_id)

    _, told = await read_on(person, message_id, params={"after": 2})
    status, nothing = await read_on(person, message_id, params={"after": len(whole)})

    assert told == whole[-1:]
    assert (status, nothing) == (204, [])


async def test_a_failed_answer_is_told_as_failed_later_too(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app(answer_log_keep_seconds=0, openrouter_base_url="http://127.0.0.1:9/api/v1")
    person = await join_app(app, plan=PlanTier.PREMIUM)
    whole = await person.stream(await person.begin())
    message_id = whole[0].data["message_id"]
    await _until_forgotten(app, person, message_id)

    _, (told,) = await read_on(person, message_id)

    assert (told.id, told.name, told.data["error"]) == (whole[-1].id, "message.failed", "upstream_failed")


async def test_a_process_that_does_not_make_the_answer_waits_for_its_end(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    makes, other = await serve_app(), await serve_app()
    person = await join_app(makes, plan=PlanTier.PREMIUM)
    openrouter.configure(tokens_per_second=TOKENS_PER_SECOND)
    message_id, _ = await leave_after(person, await person.begin(), events=3)
    async with other.client(headers=dict(person.http.headers)) as there:
        answer = await there.get(path_of(message_id), params={"after": 3})
    _, whole = await read_on(person, message_id)

    assert parse_events(answer.text) == whole[-1:]
    assert whole[-1].name == "message.completed"


@pytest.mark.parametrize("what", ["somebody else's", "a question", "nothing"])
async def test_what_is_no_answer_of_ones_own_is_not_found(
    app: ServedApp, person: Person, join_app: Join, what: str
) -> None:
    whole = await person.stream(await person.begin())
    reader = await join_app(app) if what == "somebody else's" else person
    named = {"a question": whole[0].data["user_message_id"], "nothing": str(uuid4())}
    message_id = named.get(what, whole[0].data["message_id"])

    answer = await reader.http.get(path_of(message_id))
    stopped = await reader.http.post(f"/api/v1/chat/messages/{message_id}/stop")

    assert (answer.status_code, answer.json().get("error")) == (404, "not_found")
    assert (stopped.status_code, stopped.json().get("error")) == (404, "not_found")


@pytest.mark.parametrize("value", ["-1", "x", str(2**31)])
async def test_a_last_event_that_is_no_number_is_named(person: Person, value: str) -> None:
    answer = await person.http.get(path_of(str(uuid4())), headers={"Last-Event-ID": value})

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "last-event-id"


async def _until_forgotten(app: ServedApp, person: Person, message_id: str) -> None:
    while app.services.hub.find(person.user_id, UUID(message_id)) is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
