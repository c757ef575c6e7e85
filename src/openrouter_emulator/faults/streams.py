"""Streams that stall, break, lie or babble. Positions count tokens of visible text."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.http.events import COMMENT, DONE, Close, Data, Event, Pause, Raw, content_tokens, encode_event
from openrouter_emulator.http.wire import encode

FOREVER = 3_600.0
Made = Generation | None


def split_at(events: Iterator[Event], tokens: int) -> tuple[Iterator[Event], Iterator[Event]]:
    """What comes up to and with that many tokens of text, and what comes after it; the first must be used up first."""
    rest: list[Event] = []

    def head() -> Iterator[Event]:
        left = tokens
        for event in events:
            weight = content_tokens(event)
            if weight and left <= 0:
                rest.append(event)
                return
            yield event
            left -= weight
            if weight and left <= 0:
                return

    def tail() -> Iterator[Event]:
        yield from rest
        yield from events

    return head(), tail()


@fault(
    "cut_after_tokens",
    Stage.EVENTS,
    "the stream ends cleanly after N tokens: no finish, no usage, no [DONE]",
    quirks=(16,),
    tokens=20,
)
def cut_after_tokens(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    yield from split_at(events, parameters.count("tokens"))[0]


@fault("break_after_tokens", Stage.EVENTS, "the connection breaks after N tokens, without a proper end", tokens=20)
def break_after_tokens(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    yield from split_at(events, parameters.count("tokens"))[0]
    yield Close()


@fault(
    "cut_inside_event",
    Stage.EVENTS,
    "the stream ends after N tokens in the middle of an event, even of a character",
    tokens=20,
)
def cut_inside_event(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("tokens"))
    yield from head
    unfinished = next((event for event in tail if isinstance(event, Data)), None)
    if unfinished is not None:
        payload = encode_event(replace(unfinished, payload=unfinished.payload | {"text": "صبر"}))
        yield Raw(payload[: payload.rindex("صبر".encode()) + 3])


@fault(
    "stall_after_tokens",
    Stage.EVENTS,
    "nothing comes for S seconds after N tokens; with `comments`, only comments do",
    tokens=20,
    seconds=30.0,
    comments=False,
)
def stall_after_tokens(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("tokens"))
    yield from head
    yield from _silence(parameters)
    yield from tail


@fault(
    "stall_before_first",
    Stage.EVENTS,
    "the headers come, then nothing for S seconds; with `comments`, only comments",
    seconds=30.0,
    comments=True,
)
def stall_before_first(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    yield from _silence(parameters)
    yield from events


@fault("heartbeat_forever", Stage.EVENTS, "after N tokens only comments come, without end", quirks=(2,), tokens=0)
def heartbeat_forever(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    if parameters.count("tokens"):
        yield from split_at(events, parameters.count("tokens"))[0]
    while True:
        yield COMMENT
        yield Pause(0.25)


def _silence(parameters: Parameters) -> Iterator[Event]:
    left = min(parameters.number("seconds"), FOREVER)
    while parameters.flag("comments") and left > 0.25:
        yield COMMENT
        yield Pause(0.25)
        left -= 0.25
    yield Pause(left)


@fault("slow", Stage.EVENTS, "tokens come at so many a second, whatever the settings say", tokens_per_second=5.0)
def slow(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    pause = 1 / parameters.number("tokens_per_second")
    for event in events:
        if isinstance(event, Data) and event.tokens:
            yield Pause(pause * event.tokens)
        yield event


@fault("comment_storm", Stage.EVENTS, "N comments, spread between all events", quirks=(2,), count=118)
def comment_storm(events: Iterator[Event], parameters: Parameters, generation: Made) -> Iterator[Event]:
    chunks = len(generation.answer.tokens) if generation else 1
    each = max(1, parameters.count("count") // max(1, chunks))
    left = parameters.count("count")
    for event in events:
        for _ in range(min(each, left)):
            yield COMMENT
        left -= min(each, left)
        yield event
    for _ in range(left):
        yield COMMENT


@fault("bare_comments", Stage.EVENTS, "comments are a lone colon, with or without a space", quirks=(3,))
def bare_comments(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    forms = (Raw(b":\n\n"), Raw(b": \n\n"))
    for number, event in enumerate(events):
        yield forms[number % 2] if event is COMMENT else event
        if number % 7 == 0:
            yield forms[0]


@fault(
    "malformed_chunk",
    Stage.EVENTS,
    "after N tokens one `data:` line that is not JSON",
    at=10,
    text='{"id":"gen-1","choices":[{"del',
)
def malformed_chunk(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("at"))
    yield from head
    yield Raw(f"data: {parameters.text('text')}\n\n".encode())
    yield from tail


@fault("empty_data", Stage.EVENTS, "after N tokens a `data:` line with nothing in it", at=10)
def empty_data(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("at"))
    yield from head
    yield Raw(b"data:\n\n")
    yield from tail


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


@fault("no_done", Stage.EVENTS, "everything comes but `[DONE]`", quirks=(4,))
def no_done(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    return (event for event in events if event is not DONE)


@fault(
    "no_finish_chunk", Stage.EVENTS, "usage and [DONE] come, the chunk with the finish reason does not", quirks=(16,)
)
def no_finish_chunk(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    return (event for event in events if not (isinstance(event, Data) and _finishes(event.payload)))


@fault(
    "finish_twice",
    Stage.EVENTS,
    "the chunk with the finish reason comes twice; the second may say another",
    quirks=(11, 17),
    second="stop",
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


@fault("after_done", Stage.EVENTS, "a comment and an empty chunk follow `[DONE]`", quirks=(4,))
def after_done(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    yield from events
    yield COMMENT
    yield Raw(b'data: {"choices":[]}\n\n')


@fault("huge_line", Stage.EVENTS, "one `data:` line of so many bytes", quirks=(5,), size=1_600_000)
def huge_line(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, 1)
    yield from head
    yield Data({"choices": [], "x_padding": "x" * parameters.count("size")})
    yield from tail


@fault("crlf", Stage.EVENTS, "lines end in CRLF, as the event-stream format allows")
def crlf(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Data):
            yield Raw(encode_event(event).replace(b"\n\n", b"\r\n\r\n"))
        elif isinstance(event, Raw):
            yield Raw(event.content.replace(b"\n", b"\r\n"))
        else:
            yield event


@fault("event_fields", Stage.EVENTS, "events carry `event:` and `id:` lines, and no space after the colon")
def event_fields(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    for number, event in enumerate(events):
        if isinstance(event, Data):
            yield Raw(b"event: message\nid: %d\ndata:%s\n\n" % (number, encode(event.payload)))
        else:
            yield event


@fault(
    "json_instead_of_stream", Stage.EVENTS, "the body is one line of JSON although a stream was asked for", quirks=(6,)
)
def json_instead_of_stream(events: Iterator[Event], _parameters: Parameters, generation: Made) -> Iterator[Event]:
    error = {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "Groq"}}
    if generation is None or not generation.streamed:
        yield from events
        return
    generation.failed = True
    yield Raw(encode({"error": error, "user_id": "user_2emulated0000000000000000"}))


@fault("html_200", Stage.EVENTS, "HTTP 200 with an HTML page", quirks=(7,))
def html_200(_events: Iterator[Event], _parameters: Parameters, generation: Made) -> Iterator[Event]:
    if generation is not None:
        generation.failed = True
    yield Raw(b"<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body>Please try again.</body></html>\n")


@fault("empty_body", Stage.EVENTS, "HTTP 200 and not a single byte of body")
def empty_body(_events: Iterator[Event], _parameters: Parameters, generation: Made) -> Iterator[Event]:
    if generation is not None:
        generation.failed = True
    yield Raw(b"")


@fault(
    "whitespace_padding",
    Stage.EVENTS,
    "lines of blanks before a JSON body, sent as the model works; errors too",
    quirks=(1,),
    size=2_893,
    seconds=0.0,
)
def whitespace_padding(events: Iterator[Event], parameters: Parameters, generation: Made) -> Iterator[Event]:
    if generation is None or not generation.streamed:
        line = b"\n" + b" " * 9 + b"\n"
        count = max(1, parameters.count("size") // len(line))
        for _ in range(count):
            yield Raw(line)
            yield Pause(parameters.number("seconds") / count)
    yield from events


@fault("broken_json", Stage.EVENTS, "a JSON body cut in the middle, with a proper end of the response")
def broken_json(events: Iterator[Event], _parameters: Parameters, generation: Made) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Raw) and generation is not None and not generation.streamed:
            yield Raw(event.content[: len(event.content) // 2])
        else:
            yield event
