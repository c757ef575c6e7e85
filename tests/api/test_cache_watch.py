"""The process counts what caching does, and warns when it gets worse."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.hit_rates import WARM_UP_CALLS
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
MODEL = "openai/gpt-4o-mini"
SYSTEM = "Answer from the Qur'an and the sound Sunnah, with the source, and say where the schools differ. " * 70


@pytest.fixture
async def app(serve_app: Serve, openrouter: EmulatorProcess) -> ServedApp:
    openrouter.configure(load_balancing=False)
    return await serve_app(default_fallback_models="", llm_max_tokens=16, llm_history_messages=0, log_level="WARNING")


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.UNLIMITED)


async def test_a_drop_is_counted_and_warned_of_by_model_and_preset(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    body = {"name": "Long", "slug": "long", "model": MODEL, "system_prompt": SYSTEM}
    preset_id = (await person.http.post("/api/v1/presets", json=body)).json()["id"]
    conversation_id = await person.begin()

    async def ask(times: int) -> list[dict[str, Any]]:
        return [(await person.chat(conversation_id, preset_id=preset_id)).json() for _ in range(times)]

    with capture_logs() as logs:
        replies = await ask(WARM_UP_CALLS)
        openrouter.configure(prompt_caching=False)
        replies += await ask(15)

    warnings = [each for each in logs if each["event"] == "cache.hit_rate_dropped"]
    assert [(each["model"], each.get("preset_id"), each["log_level"]) for each in warnings] == [
        (MODEL, None, "warning"),
        (MODEL, preset_id, "warning"),
    ]
    assert all(each["before"] > 0.6 and each["after"] < 0.6 * each["before"] for each in warnings)

    counters = app.services.cache_watch.counters[MODEL]
    assert (counters.calls, counters.drops) == (WARM_UP_CALLS + 15, 1)
    assert counters.read_tokens == sum(each["cached_tokens_read"] for each in replies)
    assert counters.prompt_tokens == sum(each["usage"]["prompt_tokens"] for each in replies)
    assert float(counters.savings_usd) == pytest.approx(sum(each["cache_discount_usd"] for each in replies))
    assert counters.outcomes["hit"] == WARM_UP_CALLS - 1


async def test_turns_that_may_not_be_cached_are_no_misses(app: ServedApp, person: Person) -> None:
    conversation_id = await person.begin()
    for _ in range(3):
        await person.chat(conversation_id, model=MODEL, enable_caching=False)
    counters = app.services.cache_watch.counters[MODEL]
    assert (counters.calls, counters.outcomes) == (3, {"disabled": 3})
