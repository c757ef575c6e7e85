"""Streams that end too early, too late, or with an error. Positions count tokens of visible text."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.faults.position import Made, is_stream, split_at
from openrouter_emulator.http.events import COMMENT, DONE, Close, Data, Event, Raw, encode_event


@fault(
    "cut_after_tokens",
    Stage.EVENTS,
    "the stream ends cleanly after N tokens: no finish, no usage, no [DONE]",
    quirks=(16,),
    tokens=20,
    streams_only=True,
)
def cut_after_tokens(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    yield from split_at(events, parameters.count("tokens"))[0]


@fault(
    "break_after_tokens",
    Stage.EVENTS,
    "the connection breaks after N tokens, or in the middle of a JSON body, without a proper end",
    tokens=20,
)
def break_after_tokens(events: Iterator[Event], parameters: Parameters, generation: Made) -> Iterator[Event]:
    for event in split_at(events, parameters.count("tokens"))[0]:
        is_whole = isinstance(event, Raw) and not is_stream(generation)
        yield Raw(event.content[: len(event.content) // 2]) if is_whole and isinstance(event, Raw) else event
    yield Close()


@fault(
    "cut_inside_event",
    Stage.EVENTS,
    "the stream ends after N tokens in the middle of an event, even of a character",
    tokens=20,
    streams_only=True,
)
def cut_inside_event(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("tokens"))
    yield from head
    unfinished = next((event for event in tail if isinstance(event, Data)), None)
    if unfinished is not None:
        payload = encode_event(replace(unfinished, payload=unfinished.payload | {"text": "صبر"}))
        yield Raw(payload[: payload.rindex("صبر".encode()) + 3])


@fault(
    "error_chunk",
    Stage.EVENTS,
    "after N tokens an error event ends the stream; `layout`: choice, empty_choices, between (before `model`), bare "
    "(only error and user_id); `string_code` sends the code as text, `done` adds [DONE]",
    quirks=(4, 10, 36),
    after=10,
    code=502,
    message="Provider disconnected",
    layout="choice",
    string_code=False,
    done=False,
    streams_only=True,
)
def error_chunk(events: Iterator[Event], parameters: Parameters, generation: Made) -> Iterator[Event]:
    if parameters.count("after"):
        yield from split_at(events, parameters.count("after"))[0]
    if generation is not None:
        generation.failed = True
    yield Data(_error_payload(parameters, generation))
    if parameters.flag("done"):
        yield DONE


def _error_payload(parameters: Parameters, generation: Made) -> dict[str, Any]:
    code: str | int = "server_error" if parameters.flag("string_code") else parameters.count("code")
    metadata = {"error_type": "provider_unavailable"}
    error = {"code": code, "message": parameters.text("message"), "metadata": metadata}
    layout = parameters.text("layout")
    if layout == "bare" or generation is None:
        return {"error": error, "user_id": "user_2emulated0000000000000000"}
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": None}
    choices = {"choices": [] if layout == "empty_choices" else [choice]}
    head = {"id": generation.id, "object": "chat.completion.chunk", "created": int(generation.created_at)}
    names = {"provider": generation.host.name, "error": error, "model": generation.model.id}
    if layout == "between":
        return head | names | choices
    return head | {"model": names["model"], "provider": names["provider"]} | choices | {"error": error}


@fault("no_done", Stage.EVENTS, "everything comes but `[DONE]`", quirks=(4,), streams_only=True)
def no_done(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    return (event for event in events if event is not DONE)


@fault(
    "no_finish_chunk",
    Stage.EVENTS,
    "usage and [DONE] come, the chunk with the finish reason does not",
    quirks=(16,),
    streams_only=True,
)
def no_finish_chunk(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    return (event for event in events if not (isinstance(event, Data) and _finishes(event.payload)))


@fault(
    "finish_twice",
    Stage.EVENTS,
    "the chunk with the finish reason comes twice; the second may say another",
    quirks=(11, 17),
    second="stop",
    streams_only=True,
)
def finish_twice(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    for event in events:
        yield event
        if isinstance(event, Data) and _finishes(event.payload):
            choice = event.payload["choices"][0] | {"finish_reason": parameters.text("second")}
            yield Data(event.payload | {"choices": [choice]})


def _finishes(payload: dict[str, Any]) -> bool:
    choices = payload.get("choices")
    return bool(choices and choices[0].get("finish_reason"))


@fault("after_done", Stage.EVENTS, "a comment and an empty chunk follow `[DONE]`", quirks=(4,), streams_only=True)
def after_done(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    yield from events
    yield COMMENT
    yield Raw(b'data: {"choices":[]}\n\n')
