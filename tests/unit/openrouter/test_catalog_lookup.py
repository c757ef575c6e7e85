"""Models are found by every name under which they are known."""

from decimal import Decimal

import pytest

from app.openrouter.aliases import RETIRED
from app.openrouter.catalog import Catalog, read_models, shipped_catalog
from app.openrouter.errors import ModelNotFound
from app.openrouter.models import ModelProfile

CATALOG = shipped_catalog()


@pytest.mark.parametrize(
    ("requested", "sent"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("anthropic/claude-4.5-haiku-20251001", "anthropic/claude-haiku-4.5"),
        ("openai/gpt-4o:nitro", "openai/gpt-4o:nitro"),
        ("openai/gpt-4o:nitro:floor", "openai/gpt-4o:nitro:floor"),
        ("google/gemma-4-31b-it:free", "google/gemma-4-31b-it:free"),
        ("google/gemma-4-31b-it-20260402", "google/gemma-4-31b-it"),
        ("~anthropic/claude-sonnet-latest", "~anthropic/claude-sonnet-latest"),
        ("openrouter/auto", "openrouter/auto"),
    ],
)
def test_living_models_are_sent_as_they_are_named(requested: str, sent: str) -> None:
    resolved = CATALOG.require_resolved(requested)
    assert (resolved.id, resolved.is_replaced) == (sent, False)


@pytest.mark.parametrize(
    ("requested", "sent"),
    [
        ("anthropic/claude-3.5-sonnet", "anthropic/claude-sonnet-5.5"),
        ("anthropic/claude-3.5-sonnet:floor", "anthropic/claude-sonnet-5.5:floor"),
        ("anthropic/claude-3.7-sonnet:thinking", "anthropic/claude-sonnet-5.5"),
        ("google/gemini-2.5-flash-image-preview", "google/gemini-2.5-flash-image"),
        ("openai/dall-e-3", "openai/gpt-5-image"),
        ("black-forest-labs/flux-pro", "black-forest-labs/flux.2-pro"),
        ("black-forest-labs/flux-schnell", "black-forest-labs/flux.2-klein-4b"),
    ],
)
def test_retired_models_are_replaced_and_the_answer_can_say_so(requested: str, sent: str) -> None:
    resolved = CATALOG.require_resolved(requested)
    assert (resolved.id, resolved.is_replaced) == (sent, True)
    assert sent.partition(":")[0] in str(resolved.note)


@pytest.mark.parametrize("requested", ["x/y", "", "openai/gpt-4o:free", "openai/gpt-4o:batch", "gpt-4o", "a:b:c"])
def test_unknown_models_are_not_guessed(requested: str) -> None:
    assert CATALOG.get(requested) is None
    with pytest.raises(ModelNotFound):
        CATALOG.require(requested)


def test_every_successor_lives() -> None:
    assert not set(RETIRED) & {model.id for model in CATALOG}
    assert all(successor in CATALOG for successors in RETIRED.values() for successor in successors)


def test_a_listed_model_is_not_replaced_even_when_the_table_calls_it_retired() -> None:
    back = ModelProfile(id="openai/dall-e-3", canonical_slug="openai/dall-e-3", name="Back")
    assert not CATALOG.updated([back]).require_resolved("openai/dall-e-3").is_replaced


def test_the_next_successor_steps_in_when_those_before_it_are_gone() -> None:
    assert RETIRED["anthropic/claude-3.5-sonnet"] == ("anthropic/claude-sonnet-5.5", "anthropic/claude-sonnet-4.6")
    for retired, successors in RETIRED.items():
        for gone in range(len(successors) + 1):
            left = [
                CATALOG.require(successor) for successor in reversed(successors[gone:])
            ]  # listed the other way round
            resolved = Catalog(left).resolve(retired)
            found = resolved.id if resolved else None
            expected = successors[gone] if left else None
            assert found == expected, f"{retired}: {found} steps in where {expected} is the nearest left"


def test_live_rows_lie_over_the_shipped_ones() -> None:
    live = ModelProfile(id="openai/gpt-4o", canonical_slug="openai/gpt-4o", name="Newer")
    updated = CATALOG.updated([live])
    assert updated.require("openai/gpt-4o").name == "Newer"
    assert len(updated) == len(CATALOG)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("anthropic/claude-haiku-4.5", "anthropic/claude-4.5-haiku-20251001"),
        ("openai/gpt-4o", "openai/gpt-4o-2024-11-20"),
        ("~anthropic/claude-sonnet-latest", "anthropic/claude-sonnet-5.5"),
        ("google/gemma-4-31b-it:free", "google/gemma-4-31b-it"),
        ("x/unknown", "x/unknown"),
    ],
)
def test_an_answer_may_name_the_model_differently(asked: str, served: str) -> None:
    assert CATALOG.same_model(asked, served)
    assert not CATALOG.same_model(asked, "openai/gpt-5")


def test_a_row_tells_what_a_model_can() -> None:
    model = CATALOG.require("google/gemini-2.5-flash-image")
    assert model.reads("image")
    assert model.image_modalities == ("image", "text")
    assert CATALOG.require("black-forest-labs/flux.2-pro").image_modalities == ("image",)
    haiku = CATALOG.require("anthropic/claude-haiku-4.5")
    assert (haiku.vendor, haiku.context_length, haiku.max_output_tokens) == ("anthropic", 200_000, 64_000)
    assert haiku.knows("structured_outputs")
    assert haiku.prices.base.input_cache_read == Decimal("0.0000001")
    assert CATALOG.require("openrouter/auto").is_router
    assert not CATALOG.require("openrouter/auto").prices.base.are_known
    assert CATALOG.require("openrouter/free").is_free


def test_odd_rows_do_not_hide_the_others() -> None:
    rows = [None, {}, {"id": 3}, {"id": "a/b", "pricing": None, "architecture": [], "created": "x"}]
    assert [model.id for model in read_models(rows)] == ["a/b"]
    assert read_models(None) == []
