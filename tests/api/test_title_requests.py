"""A title costs money: it takes effect once for each Idempotency-Key, and what it cost is in the books."""

import asyncio
from decimal import Decimal
from importlib import import_module
from pkgutil import iter_modules
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import select

from app.api import deps, v1
from app.core.clock import utc_now
from app.db.models import QuotaLease, UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan."""
    return await join_app(app, plan=PlanTier.PREMIUM)


async def begin(person: Person) -> str:
    conversation_id = await person.begin()
    assert (await person.chat(conversation_id, "What is patience?")).status_code == 200
    return conversation_id


async def make_title(person: Person, conversation_id: str, *, key: str | None = "k-1") -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await person.http.post(f"/api/v1/conversations/{conversation_id}/generate-title", headers=headers)


def titles_asked(openrouter: EmulatorProcess) -> int:
    return sum("title" in str(each["body"]["messages"][-1]["content"]) for each in openrouter.questions())


async def rows(app: ServedApp, person: Person, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(table).where(table.user_id == person.user_id))).all())


async def test_a_finished_request_is_repeated_to_the_letter(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await begin(person)
    first = await make_title(person, conversation_id)
    paid = (await person.usage())["total_cost_usd"]
    await person.http.patch(f"/api/v1/conversations/{conversation_id}", json={"title": "Another"})
    again = await make_title(person, conversation_id)

    assert (first.status_code, again.content) == (200, first.content)
    assert titles_asked(openrouter) == 1
    assert (await person.usage())["total_cost_usd"] == paid
    found = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()
    assert found["title"] == "Another"  # a repeat has no effect of its own


async def test_without_a_key_each_request_asks(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await begin(person)
    for _ in range(2):
        await make_title(person, conversation_id, key=None)

    assert titles_asked(openrouter) == 2


async def test_many_at_once_are_one_call_and_the_same_title(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await begin(person)
    openrouter.configure(first_token_delay=0.3)

    answers = await asyncio.gather(*(make_title(person, conversation_id) for _ in range(8)))

    assert [each.text for each in answers if each.status_code != 200] == []
    assert len({each.content for each in answers}) == 1
    assert titles_asked(openrouter) == 1


async def test_a_key_stands_for_one_request_whatever_it_asks(person: Person, openrouter: EmulatorProcess) -> None:
    one, other = await begin(person), await begin(person)
    await make_title(person, one)
    chat = await person.http.post(
        "/api/v1/chat", json={"conversation_id": one, "message": "And?"}, headers={"Idempotency-Key": "k-1"}
    )

    for answer in (await make_title(person, other), chat):
        assert (answer.status_code, answer.json().get("error")) == (409, "idempotency_key_reused")
    assert titles_asked(openrouter) == 1


async def test_a_repeat_takes_nothing_of_the_minute_and_a_key_of_another_request_opens_no_door(
    serve_app: Serve, join_app: Join
) -> None:
    app = await serve_app(rate_limits_enabled=True)
    person = await join_app(app, plan=PlanTier.FREE)  # five requests a minute
    conversation_id = await begin(person)
    answers = [await make_title(person, conversation_id) for _ in range(6)]
    others = [await make_title(person, await person.begin(), key="k-1") for _ in range(2)]
    for number in range(3):
        answers.append(await make_title(person, conversation_id, key=f"new-{number}"))

    assert {each.status_code for each in answers} == {200}
    assert {each.status_code for each in others} == {409}
    assert (await make_title(person, conversation_id, key="one more")).status_code == 429


async def test_a_refused_request_frees_its_key(person: Person) -> None:
    conversation_id = await begin(person)
    assert (await make_title(person, "00000000-0000-7000-8000-000000000000")).status_code == 404

    assert (await make_title(person, conversation_id)).status_code == 200


async def test_a_conversation_deleted_meanwhile_is_not_found_and_its_title_paid(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await begin(person)
    openrouter.configure(first_token_delay=0.5)
    titling = asyncio.create_task(make_title(person, conversation_id))
    while not titles_asked(openrouter):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    await person.http.delete(f"/api/v1/conversations/{conversation_id}")

    assert (await titling).status_code == 404
    assert await ledger_total(app, person) == Decimal(str(openrouter.bill()["total"]))


async def ledger_total(app: ServedApp, person: Person) -> Decimal:
    return sum((each.cost_usd or Decimal(0) for each in await rows(app, person, UsageEvent)), Decimal(0))


async def test_a_failed_call_that_was_billed_is_the_houses(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await begin(person)
    before = await person.usage()
    openrouter.fault("stop_without_content")

    answer = await make_title(person, conversation_id)

    assert answer.json()["title"] == "What is patience?"  # its first words
    lost = [each for each in await rows(app, person, UsageEvent) if each.kind == "lost_attempt"]
    assert sum(each.cost_usd for each in lost) > 0
    assert await ledger_total(app, person) == Decimal(str(openrouter.bill()["total"]))
    assert await person.usage() == before


async def test_while_a_title_is_made_its_tokens_and_money_are_held_but_no_message(
    person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await begin(person)
    openrouter.configure(first_token_delay=0.5)
    titling = asyncio.create_task(make_title(person, conversation_id))
    while not titles_asked(openrouter):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    during = await person.usage()
    await titling
    after = await person.usage()

    assert during["messages"]["reserved"] == 0
    assert during["tokens"]["reserved"] > 0
    assert during["cost"]["reserved"] > 0
    assert (after["tokens"]["reserved"], after["cost"]["reserved"]) == (0, 0)


async def test_titles_that_race_cannot_pass_the_months_money(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversations = [await begin(person) for _ in range(8)]
    used = Decimal(str((await person.usage())["total_cost_usd"]))
    ceiling = used + Decimal("0.00005")  # what one or two titles hold
    async with app.services.database.unit_of_work() as uow:
        limits = {"cost_ceiling_usd_per_month": ceiling}
        await uow.overrides.put(person.user_id, limits, reason="test", expires_at=None, now=utc_now())
        await uow.commit()
    openrouter.configure(first_token_delay=0.3)

    answers = await asyncio.gather(*(make_title(person, each, key=None) for each in conversations))

    assert {each.status_code for each in answers} == {200}
    assert 0 < titles_asked(openrouter) < 4
    assert await ledger_total(app, person) <= ceiling


async def test_a_title_that_is_given_up_gives_everything_back(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await begin(person)
    openrouter.configure(first_token_delay=30)
    titling = asyncio.create_task(app.services.titles.generate(person.user_id, UUID(conversation_id)))
    while not titles_asked(openrouter):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    titling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await titling

    states = sorted(each.state for each in await rows(app, person, QuotaLease))
    assert states == ["released", "settled"]


def test_every_endpoint_that_asks_a_model_takes_an_idempotency_key() -> None:
    routes = [route for module in router_modules() for route in module.router.routes if isinstance(route, APIRoute)]
    asking = [each for each in routes if _asks_a_model(each.dependant)]

    assert len(asking) >= 4  # ask, regenerate, edit, title
    for route in asking:
        assert "idempotency-key" in {header.alias for header in route.dependant.header_params}, route.path


def router_modules() -> list[Any]:
    return [import_module(f"app.api.v1.{each.name}") for each in iter_modules(v1.__path__)]


def _asks_a_model(dependant: Dependant) -> bool:
    asks = dependant.call in (deps.get_model_caller, deps.get_asker)
    return asks or any(_asks_a_model(each) for each in dependant.dependencies)
