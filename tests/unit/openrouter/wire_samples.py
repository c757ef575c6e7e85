"""Streams and bodies in the shapes seen on the wire, with invented contents."""

import json
from typing import Any

from hypothesis import strategies as st

GENERATION_ID = "gen-1790000000-AbCdEfGhIjKlMnOpQrSt"
MODEL = "anthropic/claude-sonnet-5.5"
USAGE = {
    "prompt_tokens": 5200,
    "completion_tokens": 40,
    "total_tokens": 5240,
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 5000, "cache_write_tokens": 0, "audio_tokens": 0},
    "cost_details": {"upstream_inference_cost": None},
    "completion_tokens_details": {"reasoning_tokens": 12, "image_tokens": 0},
}
COST = "0.0076509169000000005"


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk with one choice; `more` are members beside `choices`."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, "native_finish_reason": finish}
    head = {"id": GENERATION_ID, "object": "chat.completion.chunk", "model": MODEL, "provider": "Anthropic"}
    return {**head, "choices": [choice], **more}


def text(content: str, **more: Any) -> dict[str, Any]:
    return chunk({"role": "assistant", "content": content}, **more)


def thought(reasoning: str) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": reasoning, "index": 0, "format": "anthropic-claude-v1"}
    return chunk({"content": None, "reasoning": reasoning, "reasoning_details": [detail]})


def usage_chunk(cost: str = COST, **more: Any) -> bytes:
    """The chunk with the usage; `cost` is exact text, as JSON would have it."""
    usage = json.dumps({**USAGE, **more})[:-1] + f', "cost": {cost}}}'
    return (json.dumps(chunk())[:-1] + f', "usage": {usage}}}').encode()


def event(payload: dict[str, Any] | bytes) -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    return b"data: " + data + b"\n\n"


COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"

STREAM = b"".join(
    (
        COMMENT,
        event(text("")),
        event(thought("Consider ")),
        event(thought("the verse.")),
        COMMENT,
        event(text("بسم الله ")),
        event(text("الرحمن")),
        event(chunk({"content": "", "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a"}}]})),
        event(text(" — done 🌙", finish="stop")),
        event(usage_chunk()),
        DONE,
    )
)
"""A whole answer with reasoning, a citation, Arabic text and its usage."""


def body(message: dict[str, Any], *, finish: str | None = "stop", **more: Any) -> bytes:
    """A whole answer in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head = {"id": GENERATION_ID, "object": "chat.completion", "model": MODEL, "provider": "Anthropic"}
    return json.dumps({**head, "choices": [choice], **more}, ensure_ascii=False).encode()


@st.composite
def cuttings(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` cut into pieces, some of them perhaps empty."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=40)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
