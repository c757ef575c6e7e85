"""Conversations of ten turns with each kind of cache: what is read, what is saved, what OpenRouter billed less."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain.plans import PlanTier
from tests.conftest import Join
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.databases import SQLiteTemplates
from tests.support.served import ServedApp, make_settings, serve

pytestmark = pytest.mark.anyio
TURNS = 10
SECONDS_BETWEEN_TURNS = 100
SYSTEM = "Answer from the Qur'an and the sound Sunnah, name the source, and say where the schools differ. " * 260
QUESTION = "Please explain point number {0} of it, with what the four schools say, and a short summary at the end. " * 3

MODELS = [
    "anthropic/claude-sonnet-5.5",
    "anthropic/claude-haiku-4.5",
    "qwen/qwen-plus",
    "google/gemini-2.5-flash",
    "openai/gpt-5.6-luna",
    "openai/gpt-4o-mini",
    "deepseek/deepseek-v4-flash",
    "moonshotai/kimi-k3.1-pro",
]
"""Marked (Anthropic, Alibaba), implicit (Gemini), by breakpoints (GPT since 5.6) and automatic vendors."""


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def app(tmp_path: Path, openrouter: EmulatorProcess, clock: MovedClock) -> AsyncIterator[ServedApp]:
    """An app that has learned nothing yet, on the database that starts soonest: what is asked is not its business."""
    openrouter.configure(load_balancing=False)
    settings = make_settings(
        database_url=await SQLiteTemplates(tmp_path).make(),
        data_dir=tmp_path,
        openrouter_url=openrouter.base_url,
        default_fallback_models="",
        access_token_minutes=1_440,
        reconcile_interval_seconds=3_600,
        llm_max_tokens=60,
    )
    async with serve(settings, clock=clock) as app:
        yield app


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.UNLIMITED)


async def talk(person: Person, model: str, clock: MovedClock, openrouter: EmulatorProcess) -> list[dict[str, Any]]:
    """The replies of a conversation of ten turns; the preset's slug keeps it apart from every other one."""
    body = {"name": "Long", "slug": "long", "model": model, "system_prompt": SYSTEM}
    preset = (await person.http.post("/api/v1/presets", json=body)).json()
    conversation_id = await person.begin()
    replies = []
    for turn in range(TURNS):
        answer = await person.chat(conversation_id, QUESTION.format(turn), preset_id=preset["id"])
        assert answer.status_code == 200, answer.text
        replies.append(answer.json())
        clock.advance(SECONDS_BETWEEN_TURNS, openrouter)
    return replies


def billed(openrouter: EmulatorProcess) -> Decimal:
    return Decimal(openrouter.bill()["total"])


@pytest.mark.parametrize("model", MODELS)
async def test_ten_turns_read_their_past_and_save_what_is_billed_less(
    model: str, app: ServedApp, person: Person, join_app: Join, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    replies = await talk(person, model, clock, openrouter)
    cached_bill = billed(openrouter)

    # What could have been read: all that the turn before had sent.
    could = sum(each["usage"]["prompt_tokens"] for each in replies[:-1])
    read = sum(each["cached_tokens_read"] for each in replies[1:])
    assert read >= 0.9 * could, (read, could, [each["cache"] for each in replies])
    assert [each["cache"]["outcome"] for each in replies] == ["first_request", *["hit"] * (TURNS - 1)]

    other = await join_app(app, plan=PlanTier.UNLIMITED)
    openrouter.configure(prompt_caching=False)
    uncached = await talk(other, model, clock, openrouter)
    assert [each["usage"] for each in uncached] == [each["usage"] for each in replies]
    uncached_bill = billed(openrouter) - cached_bill
    stats = await app.services.cache_stats.of_conversation(person.user_id, UUID(replies[0]["conversation_id"]))
    assert stats.total_cache_savings_usd == uncached_bill - cached_bill > 0
    assert stats.misses == {"first_request": 1}
