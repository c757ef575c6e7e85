"""`GET /models`: what clients may ask for, what it costs and which plan opens it."""

from typing import Any

import httpx2
import pytest

from tests.conftest import Join, Serve
from tests.support.accounts import Person

pytestmark = pytest.mark.anyio


async def models_of(person: Person, **query: str) -> dict[str, dict[str, Any]]:
    answer = await person.http.get("/api/v1/models", params=query)
    assert answer.status_code == 200, answer.text
    return {each["id"]: each for each in answer.json()}


async def test_a_login_is_needed(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/api/v1/models")).status_code == 401


async def test_a_model_says_what_it_can_and_what_it_costs(person: Person) -> None:
    models = await models_of(person)

    assert list(models) == sorted(models)
    assert models["anthropic/claude-sonnet-5.5"] == {
        "id": "anthropic/claude-sonnet-5.5",
        "name": "Anthropic: Claude Sonnet 5.5",
        "context_length": 1_000_000,
        "max_output_tokens": 128_000,
        "input_modalities": ["text", "image", "file"],
        "output_modalities": ["text"],
        "prices": {"prompt": 2.0, "completion": 10.0, "cache_read": 0.1, "cache_write": 2.5},
        "features": {"tools": True, "structured_outputs": True, "reasoning": True},
        "unlocked_by": "premium",
        "replaces": [
            "anthropic/claude-3-sonnet",
            "anthropic/claude-3.5-sonnet",
            "anthropic/claude-3.7-sonnet",
            "anthropic/claude-sonnet-4",
        ],
    }


async def test_the_output_price_draws_the_line_between_plans(serve_app: Serve, join_app: Join) -> None:
    at_the_line = await models_of(await join_app(await serve_app(advanced_model_output_usd_per_m=10)))
    below_it = await models_of(await join_app(await serve_app(advanced_model_output_usd_per_m="9.99")))

    assert at_the_line["anthropic/claude-sonnet-5.5"]["unlocked_by"] == "free"
    assert below_it["anthropic/claude-sonnet-5.5"]["unlocked_by"] == "premium"
    assert below_it["openai/gpt-4o-mini"]["unlocked_by"] == "free"


async def test_what_only_draws_and_what_has_no_known_price_is_not_for_the_free_plan(person: Person) -> None:
    models = await models_of(person)

    assert models["openai/gpt-image-1-mini"]["prices"]["completion"] <= 5
    assert models["openai/gpt-image-1-mini"]["unlocked_by"] == "premium"
    assert models["openrouter/auto"]["prices"]["completion"] is None
    assert models["openrouter/auto"]["unlocked_by"] == "premium"


async def test_words_are_looked_for_in_ids_and_names(person: Person) -> None:
    assert set(await models_of(person, q="HAIKU claude")) == {
        "anthropic/claude-haiku-4.5",
        "anthropic/claude-haiku-5.5",
    }
    assert await models_of(person, q="no such model") == {}


async def test_models_are_found_by_what_they_make(person: Person) -> None:
    drawing = await models_of(person, output="image")

    assert drawing
    assert all("image" in each["output_modalities"] for each in drawing.values())
    assert (await person.http.get("/api/v1/models", params={"output": "smell"})).status_code == 422
