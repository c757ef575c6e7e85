"""Which parts of a prompt are marked for the provider's cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.openrouter.models import ModelProfile

CacheStrategy = Literal["auto", "system", "conversation", "off"]
EPHEMERAL = {"type": "ephemeral"}
CHARS_PER_TOKEN = 3
"""A cautious average over English and Arabic script: a prompt this short is surely below the minimum."""


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The messages with their marks, the request's own mark, and how many breakpoints that makes (at most 4)."""

    messages: Sequence[Mapping[str, Any]]
    cache_control: Mapping[str, Any] | None = None
    breakpoints: int = 0


def plan_cache(
    messages: Sequence[Mapping[str, Any]], model: ModelProfile | None, *, strategy: CacheStrategy, min_tokens: int
) -> CachePlan:
    """Marks for vendors that cache only what is marked. `system` marks the first message; the others the whole prompt.

    Prompts under `min_tokens` stay unmarked: nothing so short is ever cached.
    """
    unmarked = CachePlan(messages)
    if strategy == "off" or model is None or model.vendor != "anthropic":
        return unmarked
    marked = messages[:1] if strategy == "system" else messages
    if sum(len(str(message["content"])) for message in marked) < min_tokens * CHARS_PER_TOKEN:
        return unmarked
    if strategy == "system":
        return CachePlan([_with_mark(messages[0]), *messages[1:]], breakpoints=1)
    return CachePlan(messages, cache_control=EPHEMERAL, breakpoints=1)


def _with_mark(message: Mapping[str, Any]) -> dict[str, Any]:
    # On a content part: OpenRouter ignores a mark on the message itself.
    return {**message, "content": [{"type": "text", "text": message["content"], "cache_control": EPHEMERAL}]}
