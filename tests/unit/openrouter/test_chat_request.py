"""A request says what it means in OpenRouter's current words."""

from dataclasses import fields
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from openrouter.components import ChatRequest as OfficialRequest
from openrouter.components import ProviderPreferences as OfficialPreferences

from app.openrouter.types import ChatRequest, ProviderPreferences

MESSAGES = [{"role": "user", "content": "Peace?"}]


def make_request(**options: Any) -> ChatRequest:
    return ChatRequest(**{"messages": MESSAGES, "model": "a/one", "max_tokens": 100} | options)


def test_nothing_is_sent_that_was_not_said() -> None:
    body = make_request().to_wire(stream=False)
    assert body == {"messages": MESSAGES, "model": "a/one", "max_tokens": 100, "stream": False}


def test_zero_and_false_are_said() -> None:
    body = make_request(temperature=0.0, seed=0, parallel_tool_calls=False).to_wire(stream=True)
    assert (body["temperature"], body["seed"], body["parallel_tool_calls"], body["stream"]) == (0.0, 0, False, True)


def test_fallbacks_go_as_models_with_the_first_in_front() -> None:
    body = make_request(fallback_models=("b/two", "a/one", "c/three", "d/four")).to_wire(stream=False)
    assert body["models"] == ["a/one", "b/two", "c/three"]
    assert "model" not in body
    assert "fallback_models" not in body


def test_preferences_leave_out_what_is_none() -> None:
    provider = ProviderPreferences(order=("anthropic",), allow_fallbacks=False, max_price={"prompt": Decimal("2.5")})
    body = make_request(provider=provider).to_wire(stream=False)
    expected = {"order": ["anthropic"], "allow_fallbacks": False, "max_price": {"prompt": "2.5"}}
    assert msgspec.json.decode(msgspec.json.encode(body["provider"])) == expected


def test_every_key_is_one_that_the_official_request_knows() -> None:
    ours = {field.name for field in fields(ChatRequest)} - {"fallback_models", "wants_metadata"} | {"models", "stream"}
    assert ours <= set(OfficialRequest.model_fields)
    assert {field.name for field in fields(ProviderPreferences)} <= set(OfficialPreferences.model_fields)


def test_a_long_session_id_is_refused() -> None:
    assert make_request(session_id="x" * 256).session_id
    with pytest.raises(ValueError, match="256"):
        make_request(session_id="x" * 257)


def test_at_least_one_token_is_asked_for() -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        make_request(max_tokens=0)
