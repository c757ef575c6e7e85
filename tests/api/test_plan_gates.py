"""What each plan may do in a chat, over HTTP."""

from decimal import Decimal
from typing import Any

import pytest

from app.domain.plans import PlanTier
from app.domain.quotas import Amounts
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
ADVANCED = "anthropic/claude-sonnet-5.5"
LONG = "a long tradition " * 300


def received(openrouter: EmulatorProcess, conversation_id: str) -> dict[str, Any]:
    body: dict[str, Any] = openrouter.requests(session_id=conversation_id)[-1]["body"]
    return body


async def use(app: ServedApp, person: Person, amounts: Amounts) -> None:
    """Charge amounts to the person's month without asking anybody."""
    async with app.services.database.unit_of_work() as uow:
        period = (await app.services.subscriptions.get(person.user_id)).period
        await uow.quotas.lock_period(person.user_id, period)
        await uow.quotas.charge(person.user_id, period.start, amounts, cache_savings_usd=Decimal(0))
        await uow.commit()


async def test_free_is_answered_by_the_free_model_and_told_so(person: Person) -> None:
    body = (await person.chat(await person.begin())).json()

    assert body["model"] == "openai/gpt-4o-mini"
    assert "'openai/gpt-4o-mini' answers on the Free plan." in body["notes"]


async def test_a_router_that_may_choose_any_model_does_not_choose_for_free(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(enable_auto_router=True, llm_model="openai/gpt-4o-mini")
    person = await join_app(app)
    conversation_id = await person.begin()
    answer = (await person.chat(conversation_id)).json()

    assert received(openrouter, conversation_id)["model"] == "openai/gpt-4o-mini"
    assert "'openai/gpt-4o-mini' answers on the Free plan." in answer["notes"]


@pytest.mark.parametrize("asked", [{"model": ADVANCED}, {"fallback_models": [ADVANCED]}])
async def test_an_advanced_model_named_on_free_is_refused_with_the_plan_that_has_it(
    person: Person, openrouter: EmulatorProcess, asked: dict[str, Any]
) -> None:
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id, **asked)

    assert answer.status_code == 403
    body = answer.json()
    assert (body["error"], body["feature"]) == ("feature_not_available", "advanced_models")
    assert (body["plan"], body["available_in"]) == ("free", "premium")
    assert openrouter.requests(session_id=conversation_id) == []
    assert (await person.usage())["messages"]["reserved"] == 0


async def test_a_model_nobody_knows_is_unknown_on_free_too(person: Person) -> None:
    answer = await person.chat(await person.begin(), model="nobody/knows-it")

    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "model")


async def test_free_falls_back_among_plain_models_only(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id)

    asked = received(openrouter, conversation_id)
    assert asked.get("models", [asked.get("model")]) == ["openai/gpt-4o-mini"]


async def test_premium_may_name_any_model(app: ServedApp, join_app: Join) -> None:
    premium = await join_app(app, plan=PlanTier.PREMIUM)

    for model in (ADVANCED, "openai/gpt-4o"):  # neither the other's fallback nor both the default
        assert (await premium.chat(await premium.begin(), model=model)).json()["model"] == model


async def test_a_plan_without_caching_runs_unmarked_and_says_so(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    """In an app of its own: one that has met people who never come back marks less."""
    app = await serve_app()
    person, premium = await join_app(app), await join_app(app, plan=PlanTier.PREMIUM)
    on_free, on_premium = await person.begin(), await premium.begin()
    free_answer = (await person.chat(on_free, LONG)).json()
    premium_answer = (await premium.chat(on_premium, LONG)).json()

    assert "cache_control" not in str(received(openrouter, on_free))
    assert "cache_control" in str(received(openrouter, on_premium))
    assert any("caching" in note for note in free_answer["notes"])
    assert not any("caching" in note for note in premium_answer["notes"])


async def test_the_answer_is_cut_to_the_plans_context(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    answer = (await person.chat(conversation_id, max_tokens=16_000)).json()

    sent = received(openrouter, conversation_id)
    assert sent["max_tokens"] < 4_000
    assert answer["usage"]["prompt_tokens"] + sent["max_tokens"] <= 4_000


async def test_older_messages_make_room_in_a_small_context(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    for number in range(3):
        await person.chat(conversation_id, f"{number} " + "word " * 1_000)
    events = await person.stream(conversation_id, "And now?")

    sent = received(openrouter, conversation_id)["messages"]
    trimmed = [each for each in events if each.name == "context.trimmed"]
    assert len(trimmed) == 1
    assert trimmed[0].data["kept_messages"] == len(sent) - 2 < 6
    assert events[-1].name == "message.completed"


async def test_a_question_longer_than_the_plans_context_is_refused_in_words(person: Person) -> None:
    answer = await person.chat(await person.begin(), "word " * 6_000)

    assert (answer.status_code, answer.json().get("error")) == (400, "context_too_long")
    assert "4,000 tokens" in answer.json()["detail"]


async def test_a_preset_too_long_for_the_plan_is_named_as_what_is_too_long(app: ServedApp, join_app: Join) -> None:
    free = await join_app(app)
    preset = {"name": "Long", "slug": "long", "model": "openai/gpt-4o-mini", "system_prompt": "Be kind. " * 2_000}
    preset_id = (await free.http.post("/api/v1/presets", json=preset)).json()["id"]
    answer = await free.chat(await free.begin(), "Peace?", preset_id=preset_id)

    assert (answer.status_code, answer.json().get("error")) == (400, "context_too_long")
    assert answer.json()["detail"].startswith("The system prompt of this preset is too long")


async def test_little_left_still_buys_a_short_answer(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    await use(app, person, Amounts(tokens=98_900))
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id, max_tokens=2_000)

    assert answer.status_code == 200
    assert received(openrouter, conversation_id)["max_tokens"] < 1_100


@pytest.mark.parametrize(
    ("spent", "detail", "meter"),
    [
        (Amounts(tokens=99_990), "Monthly token limit reached (100000)", "tokens"),
        (Amounts(cost_usd=Decimal("0.5")), "Monthly cost limit reached ($0.50)", "cost"),
    ],
)
async def test_every_spent_meter_refuses_in_its_own_words(
    app: ServedApp, person: Person, spent: Amounts, detail: str, meter: str
) -> None:
    await use(app, person, spent)
    answer = await person.chat(await person.begin())

    assert answer.status_code == 400
    assert (answer.json()["detail"], answer.json()["meter"]) == (detail, meter)
