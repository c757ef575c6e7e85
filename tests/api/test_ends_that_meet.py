"""Two ends of one answer at the same time: the first one holds, and what readers are told is what is stored."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import Message, QuotaLease, UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


class Held:
    """A step of the app that begins, and ends when it is let go."""

    def __init__(self, owner: Any, name: str) -> None:
        self.has_begun, self._may_end = asyncio.Event(), asyncio.Event()
        step: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def held(*arguments: Any) -> Any:
            self.has_begun.set()
            with suppress(TimeoutError):  # of a test that failed meanwhile nobody lets it go
                await asyncio.wait_for(self._may_end.wait(), 5)
            return await step(*arguments)

        setattr(owner, name, held)

    def let_go(self) -> None:
        self._may_end.set()


@pytest.fixture
async def app(serve_app: Serve) -> ServedApp:
    return await serve_app()


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def ask(person: Person) -> "asyncio.Task[list[Event]]":
    conversation_id = await person.begin()
    return asyncio.create_task(person.stream(conversation_id, fallback_models=[]))


async def called(openrouter: EmulatorProcess, since: str = "started_at") -> None:
    """Wait until a model has been called, or has answered."""
    async with asyncio.timeout(10):
        while not any(each["method"] == "POST" and each[since] for each in openrouter.requests()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def pending_id(app: ServedApp, person: Person) -> str:
    async with app.services.database.read_only() as uow:
        query = select(Message.id).where(Message.user_id == person.user_id, Message.status == "pending")
        return str((await uow._session.scalars(query)).one())


async def stop(person: Person, message_id: str) -> str:
    answer = await person.http.post(f"/api/v1/chat/messages/{message_id}/stop")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


async def rows(app: ServedApp, person: Person, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list(await uow._session.scalars(select(table).where(table.user_id == person.user_id)))


async def stored_status(app: ServedApp, person: Person) -> str:
    (answer,) = [each for each in await rows(app, person, Message) if each.role == "assistant"]
    assert [each.state for each in await rows(app, person, QuotaLease)] != ["held"]
    return str(answer.status)


async def test_who_stops_what_has_failed_is_told_that_it_failed(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("http_401")
    closing = Held(app.services.chat._runner, "_close_failed")
    reading = await ask(person)
    await closing.has_begun.wait()
    stopping = asyncio.create_task(stop(person, await pending_id(app, person)))
    await asyncio.sleep(0.1)
    closing.let_go()

    assert (await stopping, (await reading)[-1].name) == ("failed", "message.failed")
    assert await stored_status(app, person) == "failed"


async def test_a_stopped_answer_is_stopped_though_the_server_goes_down(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(tokens_per_second=20)
    closing = Held(app.services.chat._runner, "_close_stopped")
    reading = await ask(person)
    await called(openrouter)
    stopping = asyncio.create_task(stop(person, await pending_id(app, person)))
    await closing.has_begun.wait()
    draining = app.services.hub.begin_draining(0)
    await asyncio.sleep(0.1)
    closing.let_go()

    assert (await stopping, (await reading)[-1].name) == ("stopped", "message.stopped")
    assert await stored_status(app, person) == "stopped"
    await draining


async def test_a_stop_does_not_disturb_a_server_that_hands_over(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(tokens_per_second=20)
    closing = Held(app.services.chat._runner, "_close_interrupted")
    reading = await ask(person)
    await called(openrouter)
    message_id = await pending_id(app, person)
    draining = app.services.hub.begin_draining(0)
    await closing.has_begun.wait()
    stopping = asyncio.create_task(stop(person, message_id))
    await asyncio.sleep(0.1)
    closing.let_go()

    assert (await stopping, (await reading)[-1].name) == ("interrupted", "message.interrupted")
    assert await stored_status(app, person) == "interrupted"
    await draining


@pytest.mark.parametrize("by", ["a stop", "the server's end"])
async def test_an_answer_that_has_come_is_whole_though_it_is_ended_at_that_moment(
    app: ServedApp, person: Person, openrouter: EmulatorProcess, by: str
) -> None:
    noting = Held(app.services.chat._runner, "_note_generation")
    reading = await ask(person)
    await noting.has_begun.wait()
    message_id = await pending_id(app, person)
    await called(openrouter, "finished_at")
    await asyncio.sleep(0.1)
    if by == "a stop":
        assert await stop(person, message_id) == "completed"
    else:
        await app.services.hub.begin_draining(0)
    events = await reading

    assert events[-1].name == "message.completed"
    assert await stored_status(app, person) == "completed"
    (line,) = await rows(app, person, UsageEvent)
    assert (line.kind, line.messages, line.cost_usd > 0) == ("chat", 1, True)
