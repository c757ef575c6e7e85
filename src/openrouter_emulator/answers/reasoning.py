"""Simulated thinking, and how each vendor wraps it in `reasoning_details`."""

import base64
import hashlib
import random
from typing import Any

from openrouter_emulator.answers.phrases import Phrases
from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.tokens import split_tokens

SENTENCES = {"minimal": 1, "low": 2, "medium": 3, "high": 5, "xhigh": 7, "max": 9}
FORMATS = {
    "anthropic": "anthropic-claude-v1",
    "openai": "openai-responses-v1",
    "x-ai": "xai-responses-v1",
    "google": "google-gemini-v1",
}
STYLES = {"openai": "summary", "x-ai": "summary", "anthropic": "signed", "google": "encrypted"}


def think(request: ChatRequest, model: Model, phrases: Phrases, chance: random.Random) -> tuple[str, ...]:
    """The tokens of the thinking, or none when the model does not think or was not asked to."""
    effort = wanted_effort(request, model)
    if effort is None:
        return ()
    sentences = (phrases.reasoning * 3)[: SENTENCES.get(effort, 3)]
    tokens = split_tokens(" ".join(chance.sample(sentences, len(sentences))))
    budget = (request.reasoning or {}).get("max_tokens")
    return tuple(tokens[:budget] if isinstance(budget, int) else tokens)


def wanted_effort(request: ChatRequest, model: Model) -> str | None:
    """How hard to think; 400 when a model that must think is told not to."""
    traits = model.row.get("reasoning")
    if not traits:
        return None
    wish = request.reasoning or {}
    effort = wish.get("effort") or request.reasoning_effort
    if effort == "none" or wish.get("enabled") is False:
        if traits.get("mandatory"):
            message = "Reasoning is mandatory for this endpoint and cannot be disabled."
            raise ApiError(400, message, metadata={"provider_name": None})
        return None
    by_default = traits.get("mandatory") or traits.get("default_enabled")
    asked = wish or effort or request.include_reasoning or by_default
    return (effort or traits.get("default_effort") or "medium") if asked else None


def is_shown(request: ChatRequest) -> bool:
    return not (request.reasoning or {}).get("exclude") and request.include_reasoning is not False


def detail_format(author: str) -> str:
    return FORMATS.get(author, "unknown")


def text_detail(author: str, text: str, *, style: str | None = None) -> dict[str, Any] | None:
    """The detail that carries one piece of readable thinking; None where the vendor hides it."""
    kind = style or STYLES.get(author, "text")
    if kind in ("hidden", "signature"):
        return None
    name, key = ("reasoning.summary", "summary") if kind == "summary" else ("reasoning.text", "text")
    return {"type": name, key: text, "format": detail_format(author), "index": 0}


def closing_detail(author: str, text: str, *, style: str | None = None) -> dict[str, Any] | None:
    """The signature or the encrypted block that ends the thinking, where the vendor has one."""
    kind = style or STYLES.get(author, "text")
    sealed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    if kind in ("signed", "signature"):
        return {"type": "reasoning.text", "signature": sealed, "format": detail_format(author), "index": 0}
    if kind in ("summary", "encrypted", "hidden"):
        block = {"type": "reasoning.encrypted", "data": sealed, "id": f"rs_{sealed[:12]}"}
        return block | {"format": detail_format(author), "index": 1}
    return None
