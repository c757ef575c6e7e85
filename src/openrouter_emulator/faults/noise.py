"""Streams with more in them than an answer: comments, junk, other line ends."""

from collections.abc import Iterator

from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.faults.position import Made, split_at
from openrouter_emulator.http.events import COMMENT, Data, Event, Raw, encode_event
from openrouter_emulator.http.wire import encode


@fault(
    "comment_storm", Stage.EVENTS, "N comments, spread between all events", quirks=(2,), count=118, streams_only=True
)
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


@fault(
    "bare_comments", Stage.EVENTS, "comments are a lone colon, with or without a space", quirks=(3,), streams_only=True
)
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
    streams_only=True,
)
def malformed_chunk(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("at"))
    yield from head
    yield Raw(f"data: {parameters.text('text')}\n\n".encode())
    yield from tail


@fault("empty_data", Stage.EVENTS, "after N tokens a `data:` line with nothing in it", at=10, streams_only=True)
def empty_data(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("at"))
    yield from head
    yield Raw(b"data:\n\n")
    yield from tail


@fault("huge_line", Stage.EVENTS, "one `data:` line of so many bytes", quirks=(5,), size=1_600_000, streams_only=True)
def huge_line(events: Iterator[Event], parameters: Parameters, _generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, 1)
    yield from head
    yield Data({"choices": [], "x_padding": "x" * parameters.count("size")})
    yield from tail


@fault("crlf", Stage.EVENTS, "lines end in CRLF, as the event-stream format allows", streams_only=True)
def crlf(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Data):
            yield Raw(encode_event(event).replace(b"\n\n", b"\r\n\r\n"))
        elif isinstance(event, Raw):
            yield Raw(event.content.replace(b"\n", b"\r\n"))
        else:
            yield event


@fault(
    "event_fields",
    Stage.EVENTS,
    "events carry `event:` and `id:` lines, and no space after the colon",
    streams_only=True,
)
def event_fields(events: Iterator[Event], _parameters: Parameters, _generation: Made) -> Iterator[Event]:
    for number, event in enumerate(events):
        if isinstance(event, Data):
            yield Raw(b"event: message\nid: %d\ndata:%s\n\n" % (number, encode(event.payload)))
        else:
            yield event


@fault(
    "annotations_first",
    Stage.EVENTS,
    "annotations come in one piece before the text they are about",
    quirks=(44,),
    streams_only=True,
)
def annotations_first(events: Iterator[Event], _parameters: Parameters, generation: Made) -> Iterator[Event]:
    annotations = list(generation.answer.annotations or ()) if generation else []
    has_begun = False
    for event in events:
        if not isinstance(event, Data) or not event.payload.get("choices"):
            yield event
            continue
        choice = event.payload["choices"][0]
        if choice["delta"].get("annotations"):
            continue
        yield event
        if annotations and not has_begun:
            has_begun = True
            yield Data(event.payload | {"choices": [choice | {"delta": {"content": "", "annotations": annotations}}]})
