"""Long prompts are kept cached while their conversation pauses: within the budget, at the house's cost."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import UsageEvent
from app.domain.plans import PlanTier
from app.services import cache_keeper
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
MODEL = "anthropic/claude-sonnet-4.6"
LONG = "What do the four schools say about this passage, and why do they differ? " * 300
NEARLY_OVER = 280
"""Seconds: within the last half minute of a five-minute cache."""


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(autouse=True)
def only_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's own rounds come too seldom to meet a test."""
    monkeypatch.setattr(cache_keeper, "ROUND_SECONDS", 3_600)


async def start(serve_app: Serve, clock: MovedClock, openrouter: EmulatorProcess, **changes: Any) -> ServedApp:
    # A fixed strategy: what is marked must not depend on what was learned so far.
    openrouter.configure(load_balancing=False)
    return await serve_app(
        **{
            "clock": clock,
            "llm_model": MODEL,
            "default_fallback_models": "",
            "cache_control_strategy": "conversation",
            "reconcile_interval_seconds": 3_600,
            "access_token_minutes": 1_440,
            "llm_max_tokens": 40,
            "cache_keep_alive_usd_per_day": Decimal(1),
            "auto_title": False,
            **changes,
        }
    )


@pytest.fixture
async def app(serve_app: Serve, clock: MovedClock, openrouter: EmulatorProcess) -> ServedApp:
    return await start(serve_app, clock, openrouter)


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def ledger(app: ServedApp) -> list[UsageEvent]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(UsageEvent).order_by(UsageEvent.created_at))).all())


async def pause(app: ServedApp, clock: MovedClock, openrouter: EmulatorProcess, seconds: float = NEARLY_OVER) -> None:
    clock.advance(seconds, openrouter)
    await app.services.cache_keeper.run_once()


async def test_a_pause_longer_than_the_cache_ends_with_a_hit(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    first = (await person.chat(conversation_id, LONG)).json()
    await pause(app, clock, openrouter)
    await pause(app, clock, openrouter)
    clock.advance(200, openrouter)  # 12 minutes and 40 seconds in all
    second = (await person.chat(conversation_id, "And in short?")).json()

    assert second["cache"]["outcome"] == "hit"
    assert second["cached_tokens_read"] >= first["cached_tokens_write"] > 3_000
    sent = [each["body"] for each in openrouter.requests(session_id=conversation_id)]
    assert [each["max_tokens"] for each in sent] == [40, 1, 1, 40]
    assert sent[1]["messages"] == sent[0]["messages"]
    assert [each.get("provider") for each in sent[1:3]] == [{"allow_fallbacks": False}] * 2


async def test_the_prompt_of_an_answer_by_a_schema_is_kept_too(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    asked = {
        "conversation_id": conversation_id,
        "message": LONG,
        "response_schema": {"properties": {"answer": {"type": "string"}}},
    }
    answer = await person.http.post("/api/v1/chat/structured", json=asked | {"max_tokens": 400})
    assert answer.status_code == 200, answer.text
    await pause(app, clock, openrouter)
    await pause(app, clock, openrouter)

    sent = [each["body"] for each in openrouter.requests(session_id=conversation_id)]
    assert [each["max_tokens"] for each in sent] == [400, 1, 1]
    assert sent[1]["response_format"] == sent[0]["response_format"]
    assert [each.kind for each in await ledger(app)] == ["chat", "keep_alive", "keep_alive"]


async def test_what_was_kept_ages_from_its_last_use(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id, LONG)
    await pause(app, clock, openrouter)
    clock.advance(420, openrouter)
    second = (await person.chat(conversation_id, "And in short?")).json()
    assert (second["cache"]["outcome"], second["cache"]["detail"]) == ("ttl_expired", "after 7 min")


async def test_the_house_pays_and_the_ledger_has_it(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    first = (await person.chat(await person.begin(), LONG)).json()
    before = await person.usage()
    await pause(app, clock, openrouter)

    chat, kept = await ledger(app)
    assert (chat.kind, kept.kind, kept.messages, kept.completion_tokens) == ("chat", "keep_alive", 0, 1)
    assert kept.cached_tokens_read == first["cached_tokens_write"]
    assert chat.cost_usd is not None
    assert kept.cost_usd == Decimal(openrouter.bill()["total"]) - chat.cost_usd > 0
    assert await person.usage() == before
    stats = (await person.http.get(f"/api/v1/chat/cache-stats/{first['conversation_id']}")).json()
    assert stats["total_messages"] == 1


async def test_a_bill_that_is_missing_comes_later(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    await person.chat(await person.begin(), LONG)
    openrouter.fault("no_usage", times=1)
    await pause(app, clock, openrouter)
    clock.advance(10, openrouter)
    await app.services.reconciliation.run_once()

    assert [each.kind for each in await ledger(app)] == ["chat", "keep_alive"]
    assert sum(each.cost_usd or 0 for each in await ledger(app)) == Decimal(openrouter.bill()["total"])


async def test_it_is_off_by_default(
    serve_app: Serve, join_app: Join, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    app = await start(serve_app, clock, openrouter, cache_keep_alive_usd_per_day=Decimal(0))
    person = await join_app(app, plan=PlanTier.PREMIUM)
    await person.chat(await person.begin(), LONG)
    await pause(app, clock, openrouter)
    assert len(await ledger(app)) == 1


async def test_the_days_budget_is_kept(
    serve_app: Serve, join_app: Join, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    app = await start(serve_app, clock, openrouter, cache_keep_alive_usd_per_day=Decimal("0.004"))
    person = await join_app(app, plan=PlanTier.PREMIUM)
    for _ in range(4):
        await person.chat(await person.begin(), LONG)
    await pause(app, clock, openrouter)
    await pause(app, clock, openrouter)

    spent = [each.cost_usd for each in await ledger(app) if each.kind == "keep_alive"]
    assert 1 <= len(spent) < 4
    assert sum(each or 0 for each in spent) <= Decimal("0.004")


async def test_bills_that_are_missing_count_against_the_budget(
    serve_app: Serve, join_app: Join, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    app = await start(serve_app, clock, openrouter, cache_keep_alive_usd_per_day=Decimal("0.002"))
    person = await join_app(app, plan=PlanTier.PREMIUM)
    for _ in range(3):
        await person.chat(await person.begin(), LONG)
        clock.advance(80, openrouter)
    openrouter.fault("no_usage", times=3)
    for seconds in (35, 80, 80):  # one conversation after the other is due
        await pause(app, clock, openrouter, seconds)

    asked = [each["body"] for each in openrouter.requests() if each["body"]]
    assert [body["max_tokens"] for body in asked].count(1) == 1


async def test_what_is_not_worth_it_is_left(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    await person.chat(await person.begin(), "What is Salah?")
    await person.chat(await person.begin(), LONG, enable_caching=False)
    await person.chat(await person.begin(), LONG, model="openai/gpt-4o-mini")
    await pause(app, clock, openrouter)
    assert {each.kind for each in await ledger(app)} == {"chat"}


async def test_a_deleted_conversation_is_sent_nowhere(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id, LONG)
    await person.http.delete(f"/api/v1/conversations/{conversation_id}")
    await pause(app, clock, openrouter)
    assert len(openrouter.requests(session_id=conversation_id)) == 1


async def test_a_host_that_fails_is_not_replaced_by_another(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id, LONG)
    openrouter.control.put("/hosts", json={"Anthropic": 503}).raise_for_status()
    await pause(app, clock, openrouter)
    await pause(app, clock, openrouter)
    assert [each.kind for each in await ledger(app)] == ["chat"]
    assert len(openrouter.requests(session_id=conversation_id)) == 2


async def test_nobody_is_kept_warm_for_ever(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    await person.chat(await person.begin(), LONG)
    for _ in range(cache_keeper.MOST_RENEWALS + 3):
        await pause(app, clock, openrouter, 275)
    kept = [each for each in await ledger(app) if each.kind == "keep_alive"]
    assert 1 <= len(kept) <= cache_keeper.MOST_RENEWALS


async def test_the_app_does_it_by_itself(
    serve_app: Serve,
    join_app: Join,
    clock: MovedClock,
    openrouter: EmulatorProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_keeper, "ROUND_SECONDS", 0.05)
    app = await start(serve_app, clock, openrouter)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    await person.chat(await person.begin(), LONG)
    clock.advance(NEARLY_OVER, openrouter)
    async with asyncio.timeout(20):
        while len(await ledger(app)) < 2:  # noqa: ASYNC110 - the app tells nobody
            await asyncio.sleep(0.1)


async def test_a_prompt_with_a_search_is_not_sent_again(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    """Whoever sends it again may search again, and pay for that."""
    conversation_id = await person.begin()
    assert (await person.chat(conversation_id, LONG)).status_code == 200
    little = {"max_results": 1, "max_searches": 1}  # what is found would make keeping dearer
    assert (await person.chat(conversation_id, LONG, web_search=little)).status_code == 200
    await pause(app, clock, openrouter)
    assert len(openrouter.requests(session_id=conversation_id)) == 2
