"""A generation as `chat.completion` objects and as the events of a stream."""

from collections.abc import Callable, Iterator
from typing import Any

from openrouter_emulator.catalogue.pricing import TokenCounts, rounded
from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.http.events import DONE, Data, Event

NATIVE_FINISH_REASONS = {
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"},
    "google": {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"},
}


def native_finish_reason(generation: Generation) -> str:
    reason = generation.answer.finish_reason
    return NATIVE_FINISH_REASONS.get(generation.model.author, {}).get(reason, reason)


def completion_object(generation: Generation) -> dict[str, Any]:
    """The whole answer as one JSON object; the generation must be settled."""
    message = {"role": "assistant", "content": generation.answer.text, "refusal": None, "reasoning": None}
    choice = {
        "index": 0,
        "logprobs": None,
        "finish_reason": generation.answer.finish_reason,
        "native_finish_reason": native_finish_reason(generation),
        "message": message,
    }
    return _envelope(generation, "chat.completion", [choice]) | {"usage": usage_object(generation)}


def stream_events(generation: Generation, *, per_chunk: int, settle: Callable[[], None]) -> Iterator[Event]:
    """Role, content, finish, usage, `[DONE]`; `settle` is called when all content is out."""
    yield Data(_chunk(generation, {"role": "assistant", "content": ""}))
    tokens = generation.answer.tokens
    for start in range(0, len(tokens), per_chunk):
        piece = tokens[start : start + per_chunk]
        yield Data(_chunk(generation, {"content": "".join(piece)}), tokens=len(piece))
    yield Data(_chunk(generation, {"content": ""}, finish_reason=generation.answer.finish_reason))
    settle()
    usage = {"usage": usage_object(generation)}
    yield Data(_envelope(generation, "chat.completion.chunk", []) | usage)
    yield DONE


def usage_object(generation: Generation) -> dict[str, Any]:
    """`prompt_tokens` includes cached and written tokens, `completion_tokens` reasoning and image tokens."""
    counts, cost = generation.counts or TokenCounts(), generation.cost
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "cost": generation.billed,
        "is_byok": False,
        "prompt_tokens_details": {
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.written + counts.written_1h,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": rounded(cost.prompt + cost.completion),
            "upstream_inference_prompt_cost": rounded(cost.prompt),
            "upstream_inference_completions_cost": rounded(cost.completion),
        },
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "image_tokens": counts.image,
            "audio_tokens": 0,
        },
    }


def _chunk(generation: Generation, delta: dict[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": finish_reason,
        "native_finish_reason": native_finish_reason(generation) if finish_reason else None,
        "logprobs": None,
    }
    return _envelope(generation, "chat.completion.chunk", [choice])


def _envelope(generation: Generation, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": generation.id,
        "object": kind,
        "created": int(generation.created_at),
        "model": generation.model.id,
        "provider": generation.provider,
        "system_fingerprint": None,
        "service_tier": "default",
        "choices": choices,
    }
