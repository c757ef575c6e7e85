"""Bodies that are not what the status and the request promise."""

from collections.abc import Iterator

from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.faults.position import BLANKS, Made
from openrouter_emulator.http.events import Event, Pause, Raw
from openrouter_emulator.http.wire import encode


@fault(
    "json_instead_of_stream",
    Stage.EVENTS,
    "the body is one line of JSON although a stream was asked for",
    quirks=(6,),
    streams_only=True,
)
def json_instead_of_stream(_events: Iterator[Event], _parameters: Parameters, generation: Made) -> Iterator[Event]:
    error = {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "Groq"}}
    if generation is not None:
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
        count = max(1, parameters.count("size") // len(BLANKS.content))
        for _ in range(count):
            yield BLANKS
            yield Pause(parameters.number("seconds") / count)
    yield from events


@fault("broken_json", Stage.EVENTS, "a JSON body cut in the middle, with a proper end of the response")
def broken_json(events: Iterator[Event], _parameters: Parameters, generation: Made) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Raw) and generation is not None and not generation.streamed:
            yield Raw(event.content[: len(event.content) // 2])
        else:
            yield event
