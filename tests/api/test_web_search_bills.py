"""What searching costs: in a line of its own, together with the others what OpenRouter bills, whatever becomes of the
answer.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import Message, MonthlyUsageQuota, QuotaLease, UsageDaily, UsageEvent
from app.domain.plans import PlanTier
from app.services.ledger_service import LedgerService, Verification
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
MINI, SONNET, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-sonnet-5.5", "google/gemini-2.5-flash"
TWICE = "What is patience? And what is hope?"


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def app(serve_app: Serve, clock: MovedClock) -> ServedApp:
    """An app whose reconciliation runs only when it is told to."""
    return await serve_app(clock=clock, reconcile_interval_seconds=3600, default_fallback_models="")


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def rows(app: ServedApp, person: Person, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(table).where(table.user_id == person.user_id))).all())


async def lines(app: ServedApp, person: Person) -> dict[str, UsageEvent]:
    found: Sequence[UsageEvent] = await rows(app, person, UsageEvent)
    return {each.kind: each for each in found}


async def answer_of(app: ServedApp, person: Person) -> Message:
    (message,) = [each for each in await rows(app, person, Message) if each.role == "assistant"]
    return message  # type: ignore[no-any-return]


async def verify(app: ServedApp) -> Verification:
    return await LedgerService(settings=lambda: app.services.settings, database=app.services.database).verify()


async def reconcile(app: ServedApp, clock: MovedClock, openrouter: EmulatorProcess) -> None:
    """Look bills up until all are there: OpenRouter writes one once it has noticed that its caller left."""
    for _ in range(10):
        clock.advance(60, openrouter)
        await app.services.reconciliation.run_once()
        if not (await verify(app)).bills_to_come:
            return
        await asyncio.sleep(0.05)


async def assert_the_sums_are_right(app: ServedApp, person: Person, openrouter: EmulatorProcess) -> None:
    every: Sequence[UsageEvent] = await rows(app, person, UsageEvent)
    assert sum((each.cost_usd or Decimal(0) for each in every), Decimal(0)) == Decimal(str(openrouter.bill()["total"]))
    assert (await verify(app)).differences == ()
    (month,) = await rows(app, person, MonthlyUsageQuota)
    own = [each.cost_usd or Decimal(0) for each in every if each.kind != "lost_attempt"]
    assert month.cost_usd == sum(own, Decimal(0))


async def until_named(app: ServedApp, person: Person) -> None:
    for _ in range(500):
        if (await rows(app, person, QuotaLease))[0].generation_id is not None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("OpenRouter did not name the call")


class TestAnswered:
    @pytest.mark.parametrize(("model", "one"), [(MINI, "0.007"), (SONNET, "0.01"), (GEMINI, "0.014")])
    @pytest.mark.parametrize("told", ["", "no_cost", "other_name"])
    async def test_the_fee_has_a_line_of_its_own(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, model: str, one: str, told: str
    ) -> None:
        if told:
            openrouter.fault("search_usage", params={"form": told})
        answer = (await person.chat(await person.begin(), TWICE, web_search=True, model=model)).json()
        fee = 2 * Decimal(one)
        assert (answer["web_search_requests"], Decimal(str(answer["web_search_cost_usd"]))) == (2, fee)
        by_kind = await lines(app, person)
        assert set(by_kind) == {"chat", "web_search"}
        searching = by_kind["web_search"]
        assert (searching.cost_usd, searching.searches, searching.messages) == (fee, 2, 0)
        assert (searching.prompt_tokens, searching.completion_tokens) == (0, 0)
        assert (by_kind["chat"].searches, by_kind["chat"].messages) == (0, 1)
        days = await rows(app, person, UsageDaily)
        assert sum(each.requests for each in days) == 1
        await assert_the_sums_are_right(app, person, openrouter)
        message = await answer_of(app, person)
        assert (message.web_search_requests, message.web_search_cost_usd) == (2, fee)
        assert (
            Decimal(str(answer["total_cost_usd"])) == message.total_cost_usd == Decimal(str(openrouter.bill()["total"]))
        )

    async def test_a_search_nobody_counts_is_in_the_bill_all_the_same(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("search_usage", params={"form": "uncounted"})
        answer = (await person.chat(await person.begin(), web_search=True)).json()
        assert (answer["web_search_requests"], answer["web_search_cost_usd"]) == (None, None)
        assert set(await lines(app, person)) == {"chat"}
        await assert_the_sums_are_right(app, person, openrouter)

    async def test_what_is_told_about_caching_stays_certain(self, app: ServedApp, person: Person) -> None:
        """The fee is no part of what the tokens cost: the price list explains the rest, and nothing is looked up."""
        preset = {"name": "Long", "slug": "long", "model": SONNET, "system_prompt": "Answer with sources. " * 600}
        preset_id = (await person.http.post("/api/v1/presets", json=preset)).json()["id"]
        conversation_id = await person.begin()
        for _ in range(2):
            answer = await person.chat(conversation_id, web_search=True, preset_id=preset_id)
        assert answer.json()["cached_tokens_read"] > 0
        assert (await verify(app)).bills_to_come == 0

    async def test_money_for_the_searches_is_held_beforehand(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        await person.chat(await person.begin(), web_search={"max_searches": 10}, model=SONNET, max_tokens=16)
        await person.chat(await person.begin(), model=SONNET, max_tokens=16)
        searching, plain = sorted(await rows(app, person, QuotaLease), key=lambda each: -each.cost_usd)
        assert searching.cost_usd - plain.cost_usd >= 10 * Decimal("0.01")
        assert searching.tokens - plain.tokens >= 10 * 5 * 100


class TestNotAnswered:
    async def test_a_bill_that_comes_late(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, clock: MovedClock
    ) -> None:
        openrouter.fault("cost_as", params={"form": "absent"})
        await person.chat(await person.begin(), TWICE, web_search=True)
        assert (await lines(app, person))["chat"].cost_usd is None
        await reconcile(app, clock, openrouter)
        by_kind = await lines(app, person)
        assert set(by_kind) == {"chat", "late_bill", "web_search"}
        assert (by_kind["web_search"].cost_usd, by_kind["web_search"].searches) == (Decimal("0.02"), 2)
        await assert_the_sums_are_right(app, person, openrouter)
        message = await answer_of(app, person)
        assert (message.web_search_requests, message.web_search_cost_usd) == (2, Decimal("0.02"))

    @pytest.mark.parametrize("model", [MINI, SONNET, GEMINI])
    @pytest.mark.parametrize("pieces", [0, 3])
    async def test_one_that_is_stopped_in_the_middle(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, clock: MovedClock, model: str, pieces: int
    ) -> None:
        fault = "stall_after_tokens" if pieces else "stall_before_first"
        openrouter.fault(fault, params={"tokens": pieces} if pieces else {})
        body = {"conversation_id": await person.begin(), "message": TWICE, "web_search": True, "stream": True}
        async with person.http.stream("POST", "/api/v1/chat", json=body | {"model": model}) as stream:
            message_id, seen = "", 0
            async for line in stream.aiter_lines():
                if line.startswith("data: ") and not message_id:
                    message_id = line.split('"message_id":"')[1][:36]
                seen += line == "event: content.delta"
                if message_id and (seen or not pieces):
                    break
            await until_named(app, person)
            told = await person.http.post(f"/api/v1/chat/messages/{message_id}/stop")
            assert told.json()["status"] == "stopped"
        await reconcile(app, clock, openrouter)
        by_kind = await lines(app, person)
        fee = 2 * Decimal({MINI: "0.007", SONNET: "0.01", GEMINI: "0.014"}[model])
        assert set(by_kind) == {"chat", "late_bill", "web_search"}
        assert (by_kind["web_search"].cost_usd, by_kind["web_search"].searches) == (fee, 2)
        await assert_the_sums_are_right(app, person, openrouter)
        assert (await answer_of(app, person)).web_search_cost_usd == fee

    @pytest.mark.parametrize("after", [0, 20])
    async def test_the_house_pays_the_search_of_a_call_that_broke_off(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, clock: MovedClock, after: int
    ) -> None:
        openrouter.fault("error_chunk", params={"after": after}, times=1)
        answer = (await person.chat(await person.begin(), web_search=True)).json()
        assert answer["web_search_requests"] == 1
        await reconcile(app, clock, openrouter)
        by_kind = await lines(app, person)
        assert set(by_kind) == {"chat", "web_search", "lost_attempt"}
        assert by_kind["lost_attempt"].cost_usd == by_kind["web_search"].cost_usd == Decimal("0.01")
        await assert_the_sums_are_right(app, person, openrouter)

    async def test_a_turn_that_no_model_answered_costs_its_person_nothing(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, clock: MovedClock
    ) -> None:
        openrouter.fault("error_chunk", params={"after": 0})
        assert (await person.chat(await person.begin(), web_search=True)).status_code == 502
        await reconcile(app, clock, openrouter)
        every = await rows(app, person, UsageEvent)
        assert {each.kind for each in every} == {"lost_attempt"}
        assert all(each.cost_usd == Decimal("0.01") for each in every)
        await assert_the_sums_are_right(app, person, openrouter)
