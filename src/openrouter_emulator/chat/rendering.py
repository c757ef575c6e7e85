"""A generation as one `chat.completion` object and as the events of a stream."""

from collections.abc import Callable, Iterator
from typing import Any

from openrouter_emulator.answers.reasoning import closing_detail, text_detail
from openrouter_emulator.catalogue.pricing import TokenCounts, rounded
from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.http.events import DONE, Data, Event

NATIVE_FINISH_REASONS = {
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"},
    "google": {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"},
}
Usage = Callable[[], dict[str, Any]]


def native_finish_reason(generation: Generation) -> str | None:
    answer = generation.answer
    if answer.native_finish_reason or answer.finish_reason is None:
        return answer.native_finish_reason
    return NATIVE_FINISH_REASONS.get(generation.model.author, {}).get(answer.finish_reason, answer.finish_reason)


def completion_object(generation: Generation, usage: Usage) -> dict[str, Any]:
    """The whole answer as one JSON object; the generation must be settled."""
    choice = {
        "index": 0,
        "logprobs": None,
        "finish_reason": generation.answer.finish_reason,
        "native_finish_reason": native_finish_reason(generation),
        "message": _message(generation),
    }
    return _envelope(generation, "chat.completion", [choice]) | {"usage": usage()}


def _message(generation: Generation) -> dict[str, Any]:
    answer, author = generation.answer, generation.model.author
    thought = "".join(answer.reasoning)
    shown = thought if thought and answer.reasoning_shown else None
    content = None if (answer.tool_calls or answer.refusal) and not answer.tokens else answer.text
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": answer.refusal, "reasoning": shown}
    if shown:
        style = answer.reasoning_style
        details = text_detail(author, thought, style=style), closing_detail(author, thought, style=style)
        message["reasoning_details"] = [detail for detail in details if detail is not None]
        if details[0] is None:
            message["reasoning"] = None
    if answer.tool_calls:
        message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(answer.tool_calls)]
    if answer.images:
        message["images"] = [_image(url) for url in answer.images]
    if answer.annotations is not None:
        message["annotations"] = list(answer.annotations)
    return message


def stream_events(
    generation: Generation, *, per_chunk: int, usage: Usage, metadata: dict[str, Any] | None = None
) -> Iterator[Event]:
    """Role, thinking, content, calls, pictures, finish, usage, `[DONE]`; `usage` is asked when all content is out."""
    answer = generation.answer
    yield Data(_chunk(generation, {"role": "assistant", "content": ""}))
    yield from _reasoning_events(generation, per_chunk)
    for start in range(0, len(answer.tokens), per_chunk):
        piece = answer.tokens[start : start + per_chunk]
        generation.written_tokens += len(piece)
        yield Data(_chunk(generation, {"content": "".join(piece)}), tokens=len(piece), is_content=True)
    for delta in _closing_deltas(generation):
        yield Data(_chunk(generation, delta))
    generation.written_tokens = answer.completion_tokens
    if answer.finish_reason is not None:
        yield Data(_chunk(generation, {"content": ""}, finish_reason=answer.finish_reason))
    last = _envelope(generation, "chat.completion.chunk", []) | {"usage": usage()}
    yield Data(last | ({"openrouter_metadata": metadata} if metadata else {}))
    yield DONE


def _reasoning_events(generation: Generation, per_chunk: int) -> Iterator[Event]:
    answer, author, style = generation.answer, generation.model.author, generation.answer.reasoning_style
    for start in range(0, len(answer.reasoning), per_chunk):
        piece = answer.reasoning[start : start + per_chunk]
        generation.written_tokens += len(piece)
        detail = text_detail(author, "".join(piece), style=style)
        if answer.reasoning_shown and detail is not None:
            delta = {"role": "assistant", "content": "", "reasoning": "".join(piece), "reasoning_details": [detail]}
            yield Data(_chunk(generation, delta), tokens=len(piece))
    closing = closing_detail(author, "".join(answer.reasoning), style=style) if answer.reasoning else None
    if closing is not None and answer.reasoning_shown:
        yield Data(_chunk(generation, {"content": "", "reasoning_details": [closing]}))


def _closing_deltas(generation: Generation) -> Iterator[dict[str, Any]]:
    """What comes after the text: calls by name and then by pieces of arguments, a refusal, pictures, annotations."""
    answer = generation.answer
    for index, call in enumerate(answer.tool_calls):
        arguments = call["function"]["arguments"]
        head = call | {"function": {"name": call["function"]["name"], "arguments": ""}}
        yield {"content": None, "tool_calls": [{"index": index, **head}]}
        for start in range(0, len(arguments), 24):
            piece = {"arguments": arguments[start : start + 24]}
            yield {"content": None, "tool_calls": [{"index": index, "type": "function", "function": piece}]}
    if answer.refusal:
        yield {"content": None, "refusal": answer.refusal}
    if answer.images:
        yield {"content": "", "images": [_image(url) for url in answer.images]}
    if answer.annotations is not None:
        yield {"content": "", "annotations": list(answer.annotations)}


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def usage_object(generation: Generation) -> dict[str, Any]:
    """`prompt_tokens` includes cached and written tokens, `completion_tokens` reasoning and image tokens."""
    counts, cost = generation.counts or TokenCounts(), generation.cost
    usage: dict[str, Any] = {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "cost": generation.billed,
        "is_byok": generation.byok,
        "prompt_tokens_details": {
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.written + counts.written_1h,
            "audio_tokens": counts.audio,
            "video_tokens": 0,
            "file_tokens": generation.fees.file_tokens,
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
    fees = generation.fees
    if fees.searches:
        usage["cost_details"]["server_tool_cost"] = rounded(fees.search_cost)
        usage["server_tool_use_details"] = {
            "web_search_requests": fees.searches,
            "tool_calls_requested": fees.searches,
            "tool_calls_executed": fees.searches,
        }
    return usage


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
        "model": generation.served_model or generation.model.id,
        "provider": generation.host.name,
        "system_fingerprint": None,
        "service_tier": "default",
        "choices": choices,
    }
