"""What caching saved stands on messages, attempts, the ledger and the month, and is what OpenRouter billed less."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import Message, MessageAttempt, MonthlyUsageQuota, UnbilledCall, UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
SONNET = "anthropic/claude-sonnet-5.5"
SYSTEM = "Answer from the Qur'an and the sound Sunnah, with the source, and say where the schools differ. " * 60


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def app(serve_app: Serve, clock: MovedClock) -> ServedApp:
    """An app whose reconciliation runs only when it is told to."""
    return await serve_app(clock=clock, reconcile_interval_seconds=3600, default_fallback_models="")


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan."""
    return await join_app(app, plan=PlanTier.PREMIUM)


async def rows(app: ServedApp, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(table).order_by(table.created_at))).all())


async def answers(app: ServedApp) -> list[Message]:
    return [each for each in await rows(app, Message) if each.role == "assistant"]


async def reconcile(app: ServedApp, clock: MovedClock, openrouter: EmulatorProcess, *, after: float = 6) -> None:
    clock.advance(after, openrouter)
    await app.services.reconciliation.run_once()


async def preset(person: Person, model: str) -> dict[str, str]:
    """A long system prompt of this person's own."""
    body = {"name": "Long", "slug": "long", "model": model, "system_prompt": SYSTEM}
    answer = await person.http.post("/api/v1/presets", json=body)
    assert answer.status_code == 201, answer.text
    return {"preset_id": answer.json()["id"]}


async def savings(app: ServedApp) -> Decimal:
    """What the month's counters say caching saved."""
    async with app.services.database.read_only() as uow:
        found = await uow._session.scalars(select(MonthlyUsageQuota.cache_savings_usd))
        return sum(found, Decimal(0))


async def test_each_turn_and_each_attempt_tells_what_caching_saved(app: ServedApp, person: Person) -> None:
    options = await preset(person, SONNET)
    conversation_id = await person.begin()
    replies = [(await person.chat(conversation_id, **options)).json() for _ in range(2)]

    told = [Decimal(str(each["cache_discount_usd"])) for each in replies]
    assert told[0] < 0 < told[1]  # the first one wrote, the second one read
    assert [each.cache_discount_usd for each in await answers(app)] == told
    attempts = await rows(app, MessageAttempt)
    assert [each.cache_discount_usd for each in attempts] == told
    assert [each.cache_breakpoint_count for each in attempts] == [
        each.cache_breakpoint_count for each in await answers(app)
    ]
    assert all(each.cache_breakpoint_count for each in attempts)
    assert await savings(app) == sum(told)


async def test_a_failed_attempt_has_an_account_of_its_own(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    options = await preset(person, SONNET)
    openrouter.fault("error_in_choice", times=1)
    await person.chat(await person.begin(), fallback_models=["openai/gpt-4o-mini"], **options)

    failed, answered = await rows(app, MessageAttempt)
    assert failed.outcome == "failed"
    assert failed.cache_breakpoint_count == answered.cache_breakpoint_count
    assert answered.cache_discount_usd is not None


async def test_a_host_with_prices_of_its_own_is_settled_by_the_record(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    options = await preset(person, "openai/gpt-oss-120b")
    hosts = dict.fromkeys(("DeepInfra", "Cerebras", "Together"), 503)  # Groq remains, at 1.2 times the price
    openrouter.control.put("/hosts", json=hosts).raise_for_status()
    conversation_id = await person.begin()
    await person.chat(conversation_id, **options)
    second = (await person.chat(conversation_id, **options)).json()
    (waiting,) = await rows(app, UnbilledCall)
    before = await savings(app)
    await reconcile(app, clock, openrouter)

    assert second["cached_tokens_read"] > 1_000
    assert waiting.kind == "late_discount"
    assert before == 0
    record = await app.services.openrouter.get_generation(waiting.generation_id)
    assert record.cache_discount == Decimal(str(second["cache_discount_usd"])) * Decimal("1.2")
    assert [each.cache_discount_usd for each in await answers(app)] == [0, record.cache_discount]
    assert [each.cache_discount_usd for each in await rows(app, MessageAttempt)] == [0, record.cache_discount]
    assert await savings(app) == record.cache_discount
    assert await rows(app, UnbilledCall) == []
    ledger = await rows(app, UsageEvent)
    assert sum(each.cost_usd for each in ledger) == Decimal(openrouter.bill()["total"])
    assert (await app.services.reconciliation.run_once(), len(await rows(app, UsageEvent))) == (None, len(ledger))


async def test_a_discount_that_never_comes_is_what_we_reckoned(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    options = await preset(person, "openai/gpt-oss-120b")
    openrouter.control.put("/hosts", json=dict.fromkeys(("DeepInfra", "Cerebras", "Together"), 503))
    openrouter.fault("generation_404")
    conversation_id = await person.begin()
    replies = [(await person.chat(conversation_id, **options)).json() for _ in range(2)]
    await reconcile(app, clock, openrouter, after=25 * 3600)

    assert await rows(app, UnbilledCall) == []
    assert await savings(app) == Decimal(str(replies[1]["cache_discount_usd"])) > 0


async def test_a_late_bill_brings_what_was_cached(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    options = await preset(person, SONNET)
    openrouter.fault("no_usage", times=2)
    conversation_id = await person.begin()
    for _ in range(2):
        await person.chat(conversation_id, **options)
    assert [each.cache_discount_usd for each in await answers(app)] == [None, None]
    await reconcile(app, clock, openrouter)

    wrote, read = openrouter.bill()["generations"]
    first, second = await answers(app)
    assert (first.cached_tokens_read, second.cached_tokens_read) == (0, read["cached_tokens"])
    # The record counts no writes: what was written for one lifetime follows from the bill.
    assert first.cached_tokens_write in (None, wrote["cache_write_tokens"])
    assert second.cached_tokens_write == read["cache_write_tokens"]
    assert second.cached_tokens_read > 512
    assert (first.cache_outcome, second.cache_outcome) == ("unknown", "hit")
    discounts = [each.cache_discount_usd for each in await answers(app)]
    assert discounts[0] < 0 < discounts[1]
    assert [each.cache_discount_usd for each in await rows(app, MessageAttempt)] == discounts
    assert await savings(app) == sum(discounts)


async def test_a_bill_that_comes_after_its_usage_counts_the_saving_once(
    app: ServedApp, person: Person, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    options = await preset(person, SONNET)
    conversation_id = await person.begin()
    first = (await person.chat(conversation_id, **options)).json()
    openrouter.fault("cost_as", params={"form": "absent"}, times=1)
    second = (await person.chat(conversation_id, **options)).json()
    assert await savings(app) == Decimal(str(first["cache_discount_usd"]))
    await reconcile(app, clock, openrouter)

    told = [Decimal(str(each["cache_discount_usd"])) for each in (first, second)]
    assert told[1] > 0
    assert await savings(app) == sum(told)
