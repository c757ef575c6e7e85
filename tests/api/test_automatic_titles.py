"""Titles that come by themselves after the first answer."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import UsageEvent
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
QUESTION = "What is patience, and what does it teach those who have it?"


@pytest.fixture
async def app(serve_app: Serve) -> ServedApp:
    return await serve_app(auto_title=True)


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app)


async def title_of(person: Person, conversation_id: str) -> str | None:
    title: str | None = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["title"]
    return title


def title_calls(openrouter: EmulatorProcess) -> list[dict[str, Any]]:
    calls = [each["body"] for each in openrouter.requests() if each["method"] == "POST"]
    return [each for each in calls if "Give this conversation a title" in str(each["messages"][-1]["content"])]


async def test_the_first_answer_brings_a_title_and_no_later_one_does(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    before = (await person.chat(conversation_id, QUESTION)).json()
    await app.services.follow_ups.drain(10)

    title = await title_of(person, conversation_id)
    assert title
    assert title != QUESTION  # the model's, not the first words
    (call,) = title_calls(openrouter)
    assert QUESTION in call["messages"][-1]["content"]
    assert before["content"][:50] in call["messages"][-1]["content"]
    await person.chat(conversation_id, "And then?")
    await app.services.follow_ups.drain(10)
    assert len(title_calls(openrouter)) == 1
    assert await title_of(person, conversation_id) == title


async def test_it_costs_money_but_no_message(app: ServedApp, person: Person, openrouter: EmulatorProcess) -> None:
    await person.chat(await person.begin(), QUESTION)
    await app.services.follow_ups.drain(10)

    usage = await person.usage()
    assert usage["messages"]["used"] == 1
    assert Decimal(str(usage["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"]))
    async with app.services.database.read_only() as uow:
        kinds = (await uow._session.scalars(select(UsageEvent.kind).where(UsageEvent.user_id == person.user_id))).all()
    assert sorted(kinds) == ["chat", "title"]


async def test_a_title_the_owner_gave_stays(app: ServedApp, person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin(title="Mine")
    await person.chat(conversation_id, QUESTION)
    await app.services.follow_ups.drain(10)

    assert await title_of(person, conversation_id) == "Mine"
    assert title_calls(openrouter) == []


async def test_a_title_given_while_the_model_thinks_stays(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id, QUESTION)
    await app.services.follow_ups.drain(10)
    other = await person.begin()
    openrouter.configure(first_token_delay=0.5)
    await person.chat(other, QUESTION)
    while len(title_calls(openrouter)) < 2:  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)

    assert await title_of(person, other) == QUESTION  # the first words, until the model has found better ones
    await person.http.patch(f"/api/v1/conversations/{other}", json={"title": "Mine"})
    await app.services.follow_ups.drain(10)
    assert await title_of(person, other) == "Mine"


async def test_many_first_questions_at_once_ask_for_one_title(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await asyncio.gather(*(person.chat(conversation_id, f"{n}: {QUESTION}") for n in range(5)))
    await app.services.follow_ups.drain(10)

    assert len(title_calls(openrouter)) == 1
    assert await title_of(person, conversation_id)


async def test_without_a_model_the_first_words_stay(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app(auto_title=True, llm_title_model="nobody/knows-this")
    person = await join_app(app)
    conversation_id = await person.begin()
    await person.chat(conversation_id, QUESTION)
    await app.services.follow_ups.drain(10)

    assert await title_of(person, conversation_id) == QUESTION


async def test_a_refusal_is_no_title(person: Person, app: ServedApp, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    openrouter.fault("refusal", model=app.services.settings.llm_title_model)
    await person.chat(conversation_id, "What is patience?")
    await app.services.follow_ups.drain(10)

    assert len(title_calls(openrouter)) == 1
    assert await title_of(person, conversation_id) == "What is patience?"


async def test_a_conversation_without_an_answer_gets_none(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    openrouter.fault("http_503")
    assert (await person.chat(conversation_id, QUESTION, fallback_models=[])).status_code == 502
    await app.services.follow_ups.drain(10)
    assert await title_of(person, conversation_id) is None

    openrouter.control.delete("/faults")
    await person.chat(conversation_id, "Now?")
    await app.services.follow_ups.drain(10)
    assert await title_of(person, conversation_id)


async def test_the_answer_does_not_wait_for_it(person: Person, openrouter: EmulatorProcess) -> None:
    openrouter.configure(first_token_delay=1)
    conversation_id = await person.begin()
    start = asyncio.get_running_loop().time()
    events = await person.stream(conversation_id, QUESTION)

    assert events[-1].name == "message.completed"
    assert asyncio.get_running_loop().time() - start < 1.9


async def test_it_can_be_switched_off(serve_app: Serve, join_app: Join, openrouter: EmulatorProcess) -> None:
    app = await serve_app(auto_title=False)
    person = await join_app(app)
    conversation_id = await person.begin()
    await person.chat(conversation_id, QUESTION)
    await app.services.follow_ups.drain(10)

    assert await title_of(person, conversation_id) is None
    assert title_calls(openrouter) == []
