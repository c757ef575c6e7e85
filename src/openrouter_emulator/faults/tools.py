"""Tool calls as bad hosts send them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from openrouter_emulator.chat.generation import Answer, Generation
from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.http.events import Data, Event
from openrouter_emulator.tokens import split_tokens

ODD_IDS = ("toolu_01SimulatedId", "tool_0_name_{name}", "sourcegraph:1", "0")


def _with_arguments(answer: Answer, change: Callable[[str], str]) -> Answer:
    calls = tuple(
        call | {"function": call["function"] | {"arguments": change(call["function"]["arguments"])}}
        for call in answer.tool_calls
    )
    return replace(answer, tool_calls=calls)


@fault(
    "broken_arguments",
    Stage.ANSWER,
    "arguments that are not JSON: double, glued, cut, empty",
    quirks=(21, 23),
    shape="double",
)
def broken_arguments(answer: Answer, parameters: Parameters) -> Answer:
    changes: dict[str, Callable[[str], str]] = {
        "double": lambda text: "{}" + text,
        "glued": lambda text: text * 2,
        "cut": lambda text: text[: max(1, len(text) // 2)],
        "empty": lambda _text: "",
    }
    return _with_arguments(answer, changes.get(parameters.text("shape"), changes["double"]))


@fault(
    "cut_arguments",
    Stage.ANSWER,
    "arguments cut at the token limit that still say `tool_calls`; only the native reason tells",
    quirks=(18,),
    native="max_output_tokens",
)
def cut_arguments(answer: Answer, parameters: Parameters) -> Answer:
    cut = _with_arguments(answer, lambda text: text[: max(1, len(text) // 2)])
    return replace(cut, finish_reason="tool_calls", native_finish_reason=parameters.text("native"))


@fault("tool_calls_without_call", Stage.ANSWER, "`tool_calls` with no call but JSON text", quirks=(17,))
def tool_calls_without_call(answer: Answer, _parameters: Parameters) -> Answer:
    text = '{"name":"simulated","arguments":{}}'
    return replace(answer, tool_calls=(), tokens=tuple(split_tokens(text)), finish_reason="tool_calls")


@fault("tool_calls_then_stop", Stage.ANSWER, "calls, but the finish reason says `stop`", quirks=(17,))
def tool_calls_with_stop(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, finish_reason="stop")


@fault("odd_tool_ids", Stage.ANSWER, "call ids in the forms other vendors use", quirks=(24,))
def odd_tool_ids(answer: Answer, _parameters: Parameters) -> Answer:
    calls = tuple(
        call | {"id": ODD_IDS[index % len(ODD_IDS)].format(name=call["function"]["name"])}
        for index, call in enumerate(answer.tool_calls)
    )
    return replace(answer, tool_calls=calls)


@fault("many_tool_calls", Stage.ANSWER, "the call is made so many times, each with its own id", quirks=(21,), count=15)
def many_tool_calls(answer: Answer, parameters: Parameters) -> Answer:
    numbers = range(parameters.count("count"))
    return replace(
        answer, tool_calls=tuple(call | {"id": f"{call['id']}_{n}"} for call in answer.tool_calls for n in numbers)
    )


@fault(
    "same_tool_index",
    Stage.EVENTS,
    "all calls have index 0, each whole in one chunk, told apart by id alone",
    quirks=(21,),
    streams_only=True,
)
def same_tool_index(events: Iterator[Event], _parameters: Parameters, generation: Generation | None) -> Iterator[Event]:
    waiting = list(generation.answer.tool_calls) if generation else []
    for event in events:
        delta = _tool_delta(event)
        if delta is None:
            yield event
        elif "id" in delta["tool_calls"][0] and isinstance(event, Data):
            whole = {"content": None, "tool_calls": [{"index": 0, **waiting.pop(0)}]}
            yield replace(event, payload=_with_delta(event.payload, whole))


@fault(
    "odd_tool_pieces",
    Stage.EVENTS,
    "continuation pieces with empty, null or repeated id and name, and null arguments: empty, null, repeat",
    quirks=(22,),
    streams_only=True,
    shape="null",
)
def odd_tool_pieces(events: Iterator[Event], parameters: Parameters, generation: Generation | None) -> Iterator[Event]:
    calls = generation.answer.tool_calls if generation else ()
    for event in events:
        delta = _tool_delta(event)
        if delta is None or "id" in delta["tool_calls"][0] or not isinstance(event, Data):
            yield event
            continue
        piece = delta["tool_calls"][0]
        whole = calls[piece["index"]]
        names = {"empty": ("", ""), "null": (None, None), "repeat": (whole["id"], whole["function"]["name"])}
        call_id, name = names.get(parameters.text("shape"), (None, None))
        odd = piece | {"id": call_id, "function": piece["function"] | {"name": name}}
        yield replace(event, payload=_with_delta(event.payload, delta | {"tool_calls": [odd]}))
        if parameters.text("shape") == "null":
            nothing = odd | {"function": {"name": None, "arguments": None}}
            yield replace(event, payload=_with_delta(event.payload, delta | {"tool_calls": [nothing]}))


def _tool_delta(event: Event) -> dict[str, Any] | None:
    choices = event.payload.get("choices") if isinstance(event, Data) else None
    delta: dict[str, Any] = (choices[0].get("delta") or {}) if choices else {}
    return delta if delta.get("tool_calls") else None


def _with_delta(payload: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    return payload | {"choices": [payload["choices"][0] | {"delta": delta}]}
