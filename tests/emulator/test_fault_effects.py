"""What each fault does to the wire, seen by a client that looks at the bytes."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.emulator.process import REQUEST, joined_content, parse_events

pytestmark = pytest.mark.anyio
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"term": {"type": "string"}}}},
}
CALLS: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"}
THINKING: dict[str, Any] = {"model": "openai/gpt-5", "reasoning": {"effort": "low"}}
DRAWING: dict[str, Any] = {"model": "google/gemini-2.5-flash-image", "modalities": ["image", "text"]}
SEARCHING: dict[str, Any] = {"plugins": [{"id": "web"}]}
READING: dict[str, Any] = {
    "model": "qwen/qwen-plus",
    "messages": [
        {
            "role": "user",
            "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": "https://example.org/a.pdf"}}],
        }
    ],
}
Body = dict[str, Any]
Events = list[Any]


def choice(body: Body) -> Body:
    found: Body = body["choices"][0]
    return found


def cited(body: Body) -> Body:
    citation: Body = message(body)["annotations"][0]["url_citation"]
    return citation


def message(body: Body) -> Body:
    found: Body = choice(body)["message"]
    return found


def arguments(body: Body) -> list[str]:
    return [call["function"]["arguments"] for call in message(body)["tool_calls"]]


def deltas(events: Events) -> list[Body]:
    return [event["choices"][0]["delta"] for event in events if event != "[DONE]" and event.get("choices")]


def pieces(events: Events) -> list[Body]:
    return [call for delta in deltas(events) for call in delta.get("tool_calls", [])]


def finishes(events: Events) -> list[str]:
    found = (event["choices"][0]["finish_reason"] for event in events if event != "[DONE]" and event.get("choices"))
    return [reason for reason in found if reason]


def size_of(url: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size


def is_no_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


WHOLE: list[tuple[str, Body, Callable[[Body], Any]]] = [
    ("empty_answer", {}, lambda b: message(b)["content"] == "" and b["usage"]["completion_tokens"] == 0),
    ("stop_without_content", {}, lambda b: not message(b)["content"] and b["usage"]["completion_tokens"] == 9),
    ("reasoning_only", {}, lambda b: message(b)["content"] == "" and "simulated" in message(b)["reasoning"]),
    ("length_in_reasoning", {}, lambda b: choice(b)["finish_reason"] == "length" and message(b)["content"] == ""),
    ("think_tags", {}, lambda b: message(b)["content"].startswith("<think>")),
    ("stray_think_end", {}, lambda b: "</think>" in message(b)["reasoning"]),
    ("no_finish_reason", {}, lambda b: choice(b)["finish_reason"] is None and message(b)["content"]),
    ("finish_reason=end_turn", {}, lambda b: choice(b)["finish_reason"] == "end_turn"),
    ("native_finish_reason=STOP", {}, lambda b: choice(b)["native_finish_reason"] == "STOP"),
    ("refusal", {}, lambda b: message(b)["refusal"] and message(b)["content"] is None),
    ("long_answer=900", {}, lambda b: b["usage"]["completion_tokens"] == 900),
    ("json_shape=fenced", {}, lambda b: "```json" in message(b)["content"]),
    ("no_image", DRAWING, lambda b: "images" not in message(b)),
    ("broken_image", DRAWING, lambda b: len(message(b)["images"][0]["image_url"]["url"]) < 100),
    ("fewer_images=0", DRAWING, lambda b: "images" not in message(b) and b["usage"]["completion_tokens"] > 1_000),
    ("other_ratio", DRAWING, lambda b: size_of(message(b)["images"][0]["image_url"]["url"]) == (256, 256)),
    ("image_index", DRAWING, lambda b: message(b)["images"][0]["index"] == 0),
    ("reasoning_style=hidden", THINKING, lambda b: message(b)["reasoning"] is None and message(b)["reasoning_details"]),
    ("reasoning_style=signature", THINKING, lambda b: list(message(b)["reasoning_details"][0])[1] == "signature"),
    ("reasoning_format", THINKING, lambda b: message(b)["reasoning_details"][0]["format"] is None),
    ("lost_reasoning_details", THINKING, lambda b: message(b)["reasoning_details"] == [] and message(b)["reasoning"]),
    ("empty_annotations", {}, lambda b: message(b)["annotations"] == []),
    ("odd_citations", SEARCHING, lambda b: cited(b)["end_index"] == 0),
    ("odd_citations=no_content", SEARCHING, lambda b: "content" not in cited(b)),
    ("odd_citations=twice", SEARCHING, lambda b: message(b)["annotations"][0] == message(b)["annotations"][1]),
    ("odd_citations=beyond", SEARCHING, lambda b: cited(b)["end_index"] > len(message(b)["content"])),
    ("odd_citations=unsafe", SEARCHING, lambda b: cited(b)["url"].startswith("javascript:")),
    ("legacy_citations", {}, lambda b: b["citations"]),
    ("nameless_file_annotation", READING, lambda b: "name" not in message(b)["annotations"][0]["file"]),
    ("broken_arguments", CALLS, lambda b: arguments(b)[0].startswith("{}{")),
    ("broken_arguments=empty", CALLS, lambda b: arguments(b) == [""]),
    ("cut_arguments", CALLS, lambda b: is_no_json(arguments(b)[0]) and choice(b)["finish_reason"] == "tool_calls"),
    ("tool_calls_without_call", CALLS, lambda b: "tool_calls" not in message(b) and message(b)["content"]),
    ("tool_calls_then_stop", CALLS, lambda b: choice(b)["finish_reason"] == "stop" and message(b)["tool_calls"]),
    ("odd_tool_ids", CALLS, lambda b: message(b)["tool_calls"][0]["id"].startswith("toolu_")),
    ("many_tool_calls", CALLS, lambda b: len({call["id"] for call in message(b)["tool_calls"]}) == 15),
    ("no_usage", {}, lambda b: "usage" not in b),
    ("bare_usage", {}, lambda b: len(b["usage"]) == 3),
    ("null_usage_details", {}, lambda b: b["usage"]["prompt_tokens_details"] is None),
    ("no_is_byok", {}, lambda b: "is_byok" not in b["usage"]),
    ("no_cache_write_tokens", {}, lambda b: "cache_write_tokens" not in b["usage"]["prompt_tokens_details"]),
    ("zero_prompt_tokens", {}, lambda b: b["usage"]["prompt_tokens"] == 0),
    (
        "excess_reasoning_tokens",
        {},
        lambda b: b["usage"]["completion_tokens_details"]["reasoning_tokens"] > b["usage"]["completion_tokens"],
    ),
    ("cost_as=null", {}, lambda b: b["usage"]["cost"] is None),
    ("cost_as=absent", {}, lambda b: "cost" not in b["usage"]),
    ("cost_as=string", {}, lambda b: isinstance(b["usage"]["cost"], str)),
    ("upstream_cost=higher", {}, lambda b: b["usage"]["cost_details"]["upstream_inference_cost"] > b["usage"]["cost"]),
    ("upstream_cost", {}, lambda b: b["usage"]["cost_details"]["upstream_inference_cost"] is None),
    ("extra_usage_fields", {}, lambda b: b["usage"]["cost_details"]["input_audio_cache_read_tokens"] is None),
    ("search_usage", SEARCHING, lambda b: "server_tool_cost" not in b["usage"]["cost_details"]),
    ("search_usage=uncounted", SEARCHING, lambda b: not {key for key in b["usage"] if key.startswith("server_tool")}),
    ("search_usage=other_name", SEARCHING, lambda b: b["usage"]["server_tool_use"]["web_search_requests"] == 1),
    ("charged_empty", {}, lambda b: b["usage"]["completion_tokens"] == 0 and b["usage"]["cost"] > 0),
    ("old_layout", {}, lambda b: list(b)[:5] == ["id", "provider", "model", "object", "created"]),
    ("no_provider", {}, lambda b: "provider" not in b),
    ("fingerprint=absent", {}, lambda b: "system_fingerprint" not in b),
    ("fingerprint", {}, lambda b: b["system_fingerprint"] == ""),
    ("service_tier=null", {}, lambda b: b["service_tier"] is None),
    ("logprobs", {}, lambda b: choice(b)["logprobs"]["tokens"] is None),
    ("refusal_field", {}, lambda b: "refusal" not in message(b)),
    ("dated_model", {"model": "anthropic/claude-haiku-4.5"}, lambda b: b["model"].endswith("-20251001")),
    ("served_model=a/b", {}, lambda b: b["model"] == "a/b"),
    ("unknown_fields", {}, lambda b: b["x_future"] and choice(b)["x_future"] and message(b)["x_future"]),
]

STREAMED: list[tuple[str, Body, Callable[[Events], Any]]] = [
    ("no_done", {}, lambda e: e[-1] != "[DONE]" and e[-1]["usage"]),
    ("no_finish_chunk", {}, lambda e: not finishes(e) and e[-2]["usage"]),
    ("no_finish_reason", {}, lambda e: not finishes(e) and joined_content(e)),
    ("finish_twice=length", {}, lambda e: finishes(e) == ["stop", "length"]),
    ("after_done", {}, lambda e: e[-2:] == ["[DONE]", {"choices": []}]),
    ("no_usage", {}, lambda e: not any("usage" in event for event in e)),
    ("usage_placement=null_finish", {}, lambda e: e[-2]["choices"][0]["finish_reason"] is None and e[-2]["usage"]),
    ("usage_placement=with_finish", {}, lambda e: e[-2]["choices"][0]["finish_reason"] == "stop" and e[-2]["usage"]),
    ("usage_placement=twice", {}, lambda e: e[-3]["usage"]["cost"] == 0 and e[-2]["usage"]["cost"] > 0),
    ("null_content", {}, lambda e: all(delta["role"] for delta in deltas(e)) and deltas(e)[0]["content"] is None),
    ("empty_reasoning_details", {}, lambda e: all(delta["reasoning_details"] == [] for delta in deltas(e))),
    ("annotations_first", SEARCHING, lambda e: deltas(e)[1]["annotations"] and not deltas(e)[-2].get("annotations")),
    ("error_chunk=4", {}, lambda e: finishes(e) == ["error"] and e[-1]["error"]["code"] == 502),
    ("error_chunk=0; layout=bare", {}, lambda e: set(e[-1]) == {"error", "user_id"}),
    ("error_chunk; layout=between", {}, lambda e: list(e[-1])[3:6] == ["provider", "error", "model"]),
    ("error_chunk; string_code=true", {}, lambda e: e[-1]["error"]["code"] == "server_error"),
    ("error_in_choice", {}, lambda e: e[-1]["choices"][0]["error"]["code"] == 502 and joined_content(e)),
    ("tool_calls_then_stop", CALLS, lambda e: finishes(e) == ["stop"] and pieces(e)),
    ("many_tool_calls=3, same_tool_index", CALLS, lambda e: [call["index"] for call in pieces(e)] == [0, 0, 0]),
    ("odd_tool_pieces=repeat", CALLS, lambda e: len({call["id"] for call in pieces(e)}) == 1),
    ("odd_tool_pieces", CALLS, lambda e: pieces(e)[-1]["function"] == {"name": None, "arguments": None}),
    ("huge_line=50000", {}, lambda e: any(len(event.get("x_padding", "")) == 50_000 for event in e[:-1])),
    ("broken_image", DRAWING, lambda e: any("images" in delta for delta in deltas(e))),
]

RAW: list[tuple[str, Callable[[str], Any]]] = [
    ("comment_storm=118", lambda text: text.count(": OPENROUTER PROCESSING\n\n") >= 118),
    ("bare_comments", lambda text: text.startswith((":\n\n", ": \n\n")) and "PROCESSING" not in text),
    ("malformed_chunk=3", lambda text: 'data: {"id":"gen-1","choices":[{"del\n\n' in text),
    ("empty_data", lambda text: "\ndata:\n\n" in text),
    ("crlf", lambda text: text.count("\n") == text.count("\r\n")),
    ("event_fields", lambda text: "event: message\nid: " in text and "\ndata:{" in text),
    ("json_instead_of_stream", lambda text: json.loads(text)["error"]["code"] == 502),
    ("html_200", lambda text: text.startswith("<!DOCTYPE html>")),
    ("empty_body", lambda text: text == ""),
]

ERRORS: list[tuple[str, Callable[[Body], Any]]] = [
    ("http_500, error_metadata=absent", lambda b: "metadata" not in b["error"]),
    ("http_500, error_metadata=provider_null", lambda b: b["error"]["metadata"] == {"provider_name": None}),
    ("http_500, error_raw=anthropic", lambda b: json.loads(b["error"]["metadata"]["raw"])["type"] == "error"),
    ("http_500, error_raw=object", lambda b: b["error"]["metadata"]["raw"] == {"retryable": True}),
    ("http_502, status_inside_message", lambda b: '"code":400' in b["error"]["message"]),
    ("http_500, string_error_code", lambda b: b["error"]["code"] == "server_error"),
    ("http_500, codeless_error", lambda b: b["error"]["http_status"] == 500 and "code" not in b["error"]),
    ("http_400, zod_error", lambda b: b["error"]["name"] == "ZodError" and b["success"] is False),
    ("http_403=moderation", lambda b: b["error"]["metadata"]["reasons"] == ["violence"]),
    ("upstream_400_inside_502", lambda b: '"code":400' in b["error"]["message"] and b["error"]["code"] == 502),
]


async def ask(api: httpx2.AsyncClient, fault: str, **fields: Any) -> httpx2.Response:
    return await api.post("/chat/completions", json=REQUEST | fields, headers={"X-Emulator-Fault": fault})


class TestEffects:
    @pytest.mark.parametrize(("fault", "fields", "holds"), WHOLE, ids=[row[0] for row in WHOLE])
    async def test_on_whole_answers(
        self, api: httpx2.AsyncClient, fault: str, fields: Body, holds: Callable[[Body], Any]
    ) -> None:
        plain = (await ask(api, "", **fields)).json()
        body = (await ask(api, fault, **fields)).json()
        assert holds(body), body
        assert not _held(holds, plain)

    @pytest.mark.parametrize(("fault", "fields", "holds"), STREAMED, ids=[row[0] for row in STREAMED])
    async def test_on_streams(
        self, api: httpx2.AsyncClient, fault: str, fields: Body, holds: Callable[[Events], Any]
    ) -> None:
        events = parse_events((await ask(api, fault, stream=True, **fields)).text)
        assert holds(events), events[-3:]

    @pytest.mark.parametrize(("fault", "holds"), RAW, ids=[row[0] for row in RAW])
    async def test_on_bytes(self, api: httpx2.AsyncClient, fault: str, holds: Callable[[str], Any]) -> None:
        text = (await ask(api, fault, stream=True)).content.decode()
        assert holds(text), text[:400]

    @pytest.mark.parametrize(("fault", "holds"), ERRORS, ids=[row[0] for row in ERRORS])
    async def test_on_errors(self, api: httpx2.AsyncClient, fault: str, holds: Callable[[Body], Any]) -> None:
        body = (await ask(api, fault)).json()
        assert holds(body), body

    @pytest.mark.parametrize(
        ("fault", "header", "value"),
        [
            ("no_generation_id", "x-generation-id", None),
            ("content_type=text/plain", "content-type", "text/plain"),
            ("html_200", "content-type", "text/html; charset=utf-8"),
            ("gzip", "content-encoding", "gzip"),
        ],
    )
    async def test_on_headers(self, api: httpx2.AsyncClient, fault: str, header: str, value: str | None) -> None:
        assert (await ask(api, fault)).headers.get(header) == value

    async def test_broken_json_is_cut(self, api: httpx2.AsyncClient) -> None:
        assert is_no_json((await ask(api, "broken_json")).text)


def _held(holds: Callable[[Body], Any], plain: Body) -> bool:
    """Whether the answer without the fault looks the same, which would make the test worthless."""
    try:
        return bool(holds(plain))
    except (KeyError, TypeError, IndexError):
        return False
