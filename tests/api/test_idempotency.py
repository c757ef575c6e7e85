"""The same Idempotency-Key again: one call upstream, one charge, the same answer."""

import asyncio

import httpx2
import pytest

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


async def ask(
    person: Person, conversation_id: str, *, key: str = "k-1", message: str = "What is Salah?", stream: bool = False
) -> httpx2.Response:
    return await person.http.post(
        "/api/v1/chat",
        json={"conversation_id": conversation_id, "message": message, "stream": stream},
        headers={"Idempotency-Key": key},
    )


async def test_a_finished_request_is_repeated_to_the_letter(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    first = await ask(person, conversation_id)
    again = await ask(person, conversation_id)

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert len(openrouter.requests(session_id=conversation_id)) == 1
    assert (await person.usage())["messages"]["used"] == 1


async def test_ten_at_once_are_one_call_one_charge_and_ten_identical_streams(
    person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    openrouter.configure(tokens_per_second=300)

    answers = await asyncio.gather(*(ask(person, conversation_id, stream=True) for _ in range(10)))

    assert {each.status_code for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert answers[0].text.rstrip().splitlines()[-2] == "event: message.completed"
    assert len(openrouter.requests(session_id=conversation_id)) == 1
    assert (await person.usage())["messages"] == {"used": 1, "limit": 2000, "remaining": 1999, "reserved": 0}


async def test_the_same_key_with_another_body_is_refused(person: Person) -> None:
    conversation_id = await person.begin()
    await ask(person, conversation_id)
    other = await ask(person, conversation_id, message="Something else")

    assert (other.status_code, other.json().get("error")) == (409, "idempotency_key_reused")
    assert (await person.usage())["messages"]["used"] == 1


async def test_keys_of_different_people_do_not_meet(app: ServedApp, person: Person, join_app: Join) -> None:
    other = await join_app(app, plan=PlanTier.PREMIUM)
    mine, theirs = await person.begin(), await other.begin()

    first, second = await ask(person, mine), await ask(other, theirs)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["message_id"] != second.json()["message_id"]


async def test_another_process_repeats_the_answer_too(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    one, other = await serve_app(), await serve_app()
    person = await join_app(one, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    openrouter.configure(first_token_delay=0.8)
    running = asyncio.create_task(ask(person, conversation_id))
    while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)

    async with other.client(headers=person.http.headers) as elsewhere:
        body = {"conversation_id": conversation_id, "message": "What is Salah?"}
        joined = await elsewhere.post("/api/v1/chat", json=body, headers={"Idempotency-Key": "k-1"})

    assert joined.content == (await running).content
    assert len(openrouter.requests(session_id=conversation_id)) == 1


async def test_of_a_deleted_conversation_no_answer_is_kept(app: ServedApp, person: Person) -> None:
    kept, gone = await person.begin(), await person.begin()
    for key, conversation_id in (("kept", kept), ("gone", gone)):
        assert (await ask(person, conversation_id, key=key)).status_code == 200
    assert (await person.http.delete(f"/api/v1/conversations/{gone}")).status_code == 204

    async with app.services.database.read_only() as uow:
        assert await uow.idempotency.get(person.user_id, "kept") is not None
        assert await uow.idempotency.get(person.user_id, "gone") is None
    assert (await ask(person, gone, key="gone")).status_code == 404


async def test_of_a_conversation_deleted_while_it_answers_none_is_kept_either(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(first_token_delay=0.3)
    conversation_id = await person.begin()
    asking = asyncio.create_task(ask(person, conversation_id, key="gone"))
    async with asyncio.timeout(10):
        while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await person.http.delete(f"/api/v1/conversations/{conversation_id}")).status_code == 204

    assert (await asking).status_code == 200
    async with app.services.database.read_only() as uow:
        assert await uow.idempotency.get(person.user_id, "gone") is None


async def test_a_failed_request_frees_its_key(serve_app: Serve, join_app: Join) -> None:
    broken = await serve_app(openrouter_base_url="http://127.0.0.1:9/api/v1")
    person = await join_app(broken, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    assert (await ask(person, conversation_id)).status_code == 502
    person.http.base_url = (await serve_app()).url

    assert (await ask(person, conversation_id)).status_code == 200


async def test_a_refused_request_frees_its_key(person: Person) -> None:
    conversation_id = await person.begin()
    body = {"conversation_id": conversation_id, "message": "x", "model": "nobody/knows-it"}
    refused = await person.http.post("/api/v1/chat", json=body, headers={"Idempotency-Key": "k-1"})

    assert refused.status_code == 422
    assert (await ask(person, conversation_id)).status_code == 200


async def test_repeating_takes_no_seat_and_no_turn_of_the_minute(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app(rate_limits_enabled=True, max_running_answers_per_user=1)
    person = await join_app(app, plan=PlanTier.FREE)  # five questions a minute
    conversation_id = await person.begin()

    answers = await asyncio.gather(*(ask(person, conversation_id) for _ in range(3)))
    answers += [await ask(person, conversation_id) for _ in range(6)]

    assert {each.status_code for each in answers[3:]} == {200}
    assert (await person.usage())["messages"]["used"] == 1


async def test_a_request_whose_process_died_can_be_sent_again_under_its_key(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(quota_lease_seconds=1, reconcile_interval_seconds=3600)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    openrouter.configure(first_token_delay=30)
    dead = asyncio.create_task(ask(person, conversation_id))
    while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    await app.services.leases.aclose()  # as if the process had died: nothing keeps the lease alive
    await asyncio.sleep(1.1)
    await app.services.reconciliation.run_once()
    openrouter.configure(first_token_delay=0)
    again = await serve_app()
    person.http.base_url = again.url

    answer = await ask(person, conversation_id)
    dead.cancel()

    assert answer.status_code == 200
    assert len(openrouter.requests(session_id=conversation_id)) == 2, "asked anew, not waited for"
    assert (await person.usage())["messages"]["reserved"] == 0
