"""A chat turn over HTTP, from the question to the ledger."""

import asyncio
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import event, select

from app.core.clock import utc_now
from app.core.ids import new_id
from app.db.models import Message, MessageAttempt, UsageEvent
from app.domain.plans import PlanTier
from app.domain.quotas import Amounts
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan: 2,000 messages, every model, caching."""
    return await join_app(app, plan=PlanTier.PREMIUM)


NOBODY_LISTENS = "http://127.0.0.1:9/api/v1"


async def use_messages(app: ServedApp, person: Person, *, count: int) -> None:
    """Charge ``count`` messages to the person's month without asking anybody."""
    async with app.services.database.unit_of_work() as uow:
        plan = await uow.subscriptions.require_plan(person.user_id, now=utc_now())
        await uow.quotas.lock_period(person.user_id, (await app.services.subscriptions.get(person.user_id)).period)
        await uow.quotas.charge(person.user_id, plan.anchor_at, Amounts(messages=count), cache_savings_usd=Decimal(0))
        await uow.commit()


async def stored_messages(app: ServedApp, person: Person) -> list[Message]:
    async with app.services.database.read_only() as uow:
        query = select(Message).where(Message.user_id == person.user_id).order_by(Message.id)
        return list((await uow._session.scalars(query)).all())


async def test_an_answer_has_the_documented_fields(person: Person) -> None:
    answer = await person.chat(
        await person.begin(), "Explain the five pillars of Islam", temperature=0.7, max_tokens=4096, enable_caching=True
    )

    assert answer.status_code == 200
    body = answer.json()
    assert "five pillars" in body["content"]
    assert body["model"] == "anthropic/claude-sonnet-5.5"
    assert set(body["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["total_cost_usd"] > 0
    assert {"message_id", "cached_tokens_read", "cache_discount_usd"} <= set(body)


async def test_the_charge_is_what_openrouter_billed(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    body = (await person.chat(await person.begin())).json()

    billed = Decimal(str(openrouter.bill()["total"]))
    usage = await person.usage()
    async with app.services.database.read_only() as uow:
        ledger = (await uow._session.scalars(select(UsageEvent).where(UsageEvent.user_id == person.user_id))).one()
    assert ledger.cost_usd == billed == Decimal(str(body["total_cost_usd"]))
    assert Decimal(str(usage["total_cost_usd"])) == billed
    assert usage["messages"] == {"used": 1, "limit": 2000, "remaining": 1999, "reserved": 0}
    assert usage["tokens"]["used"] == body["usage"]["total_tokens"] == ledger.prompt_tokens + ledger.completion_tokens


async def test_the_stored_answer_carries_the_accounting_of_its_turn(app: ServedApp, person: Person) -> None:
    body = (await person.chat(await person.begin())).json()

    question, answer = await stored_messages(app, person)
    assert (question.role, question.content, question.status) == ("user", "What is Salah?", "completed")
    assert (answer.role, answer.content, answer.status) == ("assistant", body["content"], "completed")
    assert answer.parent_id == question.id
    assert answer.total_tokens == body["usage"]["total_tokens"]
    assert answer.final_model_used == body["model"]
    assert answer.models_attempted == ["anthropic/claude-sonnet-5.5"]
    assert answer.fallback_used is False
    assert answer.routing_strategy == "auto"
    async with app.services.database.read_only() as uow:
        attempt = (
            await uow._session.scalars(select(MessageAttempt).where(MessageAttempt.message_id == answer.id))
        ).one()
    assert (attempt.outcome, attempt.cost_usd) == ("completed", answer.total_cost_usd)
    assert attempt.generation_id == answer.generation_id


async def test_no_connection_is_held_while_the_model_runs(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    openrouter.configure(first_token_delay=1.5)
    turn = asyncio.create_task(person.chat(conversation_id))
    while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)

    while app.services.database.engine.pool.checkedout():  # type: ignore[attr-defined]
        assert not turn.done(), "a connection was held for as long as the model ran"
        await asyncio.sleep(0.02)  # the generation's id may just be being noted
    reserved = (await person.usage())["messages"]["reserved"]
    assert reserved == 1, "the connection was given back only when the turn was over"
    assert not turn.done()
    assert (await turn).status_code == 200
    assert (await person.usage())["messages"]["reserved"] == 0


async def test_when_no_model_answers_the_question_is_kept_and_nothing_charged(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app(openrouter_base_url=NOBODY_LISTENS)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    answer = await person.chat(await person.begin(), "Will anybody answer?")

    assert answer.status_code == 502
    body = answer.json()
    assert (body["error"], body["reason"]) == ("upstream_failed", "connection_failed")
    assert body["attempts"][0]["model"] == "anthropic/claude-sonnet-5.5"
    question, failed = await stored_messages(app, person)
    assert question.content == "Will anybody answer?"
    assert (failed.status, failed.error_code) == ("failed", "upstream_failed")
    usage = await person.usage()
    assert usage["messages"] == {"used": 0, "limit": 2000, "remaining": 2000, "reserved": 0}
    assert usage["total_cost_usd"] == 0


async def test_deleting_the_conversation_of_a_running_answer_loses_no_charge(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    openrouter.configure(first_token_delay=1)
    turn = asyncio.create_task(person.chat(conversation_id))
    while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.02)
    await person.http.delete(f"/api/v1/conversations/{conversation_id}")

    assert (await turn).status_code == 200
    assert await stored_messages(app, person) == []
    usage = await person.usage()
    assert (usage["messages"]["used"], usage["messages"]["reserved"]) == (1, 0)
    assert Decimal(str(usage["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"]))


async def test_absurd_and_contradictory_counts_are_booked_as_far_as_they_make_sense(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id, long_text = await person.begin(), "a long tradition " * 400
    await person.chat(conversation_id, long_text, model="anthropic/claude-sonnet-5.5")
    openrouter.fault("zero_prompt_tokens", times=1)  # beside cached tokens
    answer = await person.chat(conversation_id, long_text, model="anthropic/claude-sonnet-5.5")

    assert answer.status_code == 200
    body = answer.json()
    assert body["usage"]["prompt_tokens"] == body["cached_tokens_read"] + body["cached_tokens_write"] > 0
    usage = await person.usage()
    assert (usage["messages"]["used"], usage["messages"]["reserved"]) == (2, 0)
    assert Decimal(str(usage["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"]))


async def test_without_a_key_chat_says_what_to_do_and_stores_nothing(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app(openrouter_api_key=None)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    answer = await person.chat(await person.begin())

    assert (answer.status_code, answer.json().get("error")) == (503, "openrouter_not_configured")
    assert "OPENROUTER_API_KEY" in answer.json()["detail"]
    assert await stored_messages(app, person) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_spent_month_is_refused_with_a_status_before_the_first_byte(
    app: ServedApp, person: Person, openrouter: EmulatorProcess, stream: bool
) -> None:
    conversation_id = await person.begin()
    await use_messages(app, person, count=2000)

    answer = await person.chat(conversation_id, stream=stream)

    assert answer.status_code == 400
    body = answer.json()
    assert (body["error"], body["detail"]) == ("quota_exceeded", "Monthly message limit reached (2000)")
    assert (body["meter"], body["limit"], body["used"]) == ("messages", 2000, 2000)
    assert openrouter.requests(session_id=conversation_id) == []
    assert await stored_messages(app, person) == []


async def test_of_parallel_questions_exactly_those_that_fit_are_answered(app: ServedApp, person: Person) -> None:
    conversation_id = await person.begin()
    await use_messages(app, person, count=1993)

    answers = await asyncio.gather(*(person.chat(conversation_id, f"Question {n}") for n in range(20)))

    assert sorted(each.status_code for each in answers) == [200] * 7 + [400] * 13
    assert (await person.usage())["messages"] == {"used": 2000, "limit": 2000, "remaining": 0, "reserved": 0}


async def test_a_turn_runs_a_constant_number_of_statements(app: ServedApp, person: Person, database_kind: str) -> None:
    conversation_id = await person.begin()
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    engine = app.services.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        per_turn = []
        for n in range(5):
            statements.clear()
            await person.chat(conversation_id, f"Question {n}")
            per_turn.append(len(statements))
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert len(set(per_turn[1:])) == 1, per_turn
    # To read the account's means, to read the conversation, to open, to note the generation's id, to close.
    assert per_turn[-1] == (20 if database_kind == "sqlite" else 5), statements


async def test_somebody_elses_conversation_is_not_found(app: ServedApp, person: Person, join_app: Join) -> None:
    other = await join_app(app, plan=PlanTier.PREMIUM)
    conversation_id = await other.begin()

    refusals = [await person.chat(conversation_id), await person.chat(str(new_id()))]

    assert [each.status_code for each in refusals] == [404, 404]
    assert await stored_messages(app, other) == []
    assert (await person.usage())["messages"]["reserved"] == 0


async def test_the_answer_moves_its_conversation_to_the_top(person: Person) -> None:
    first, second = await person.begin(), await person.begin()
    await person.chat(first)

    listed = (await person.http.get("/api/v1/conversations")).json()["items"]
    assert [each["id"] for each in listed] == [first, second]


async def test_the_service_answers_plain_callers_too(app: ServedApp, person: Person) -> None:
    conversation_id = UUID(await person.begin())

    reply = await app.services.chat.chat(
        user_id=person.user_id, conversation_id=conversation_id, message_content="What is Salah?"
    )
    events = await app.services.chat.chat(
        user_id=person.user_id, conversation_id=conversation_id, message_content="And Zakat?", enable_streaming=True
    )
    names = [each.name async for each in events]  # type: ignore[union-attr]

    assert "Salah" in reply.content  # type: ignore[union-attr]
    assert (names[0], names[-1]) == ("message.started", "message.completed")
