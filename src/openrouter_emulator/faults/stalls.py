"""Answers that come slowly, or stop coming. Positions count tokens of visible text."""

from collections.abc import Iterator

from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.faults.position import Made, is_stream, sign_of_life, split_at
from openrouter_emulator.http.events import Data, Event, Pause

FOREVER = 3_600.0


@fault(
    "stall_after_tokens",
    Stage.EVENTS,
    "nothing comes for S seconds after N tokens; with `comments`, only comments do",
    tokens=20,
    seconds=30.0,
    comments=False,
)
def stall_after_tokens(events: Iterator[Event], parameters: Parameters, generation: Made) -> Iterator[Event]:
    head, tail = split_at(events, parameters.count("tokens"))
    if is_stream(generation):
        yield from head
    yield from _silence(parameters, generation)
    yield from (tail if is_stream(generation) else events)


@fault(
    "stall_before_first",
    Stage.EVENTS,
    "the headers come, then nothing for S seconds; with `comments`, only comments",
    seconds=30.0,
    comments=True,
)
def stall_before_first(events: Iterator[Event], parameters: Parameters, generation: Made) -> Iterator[Event]:
    yield from _silence(parameters, generation)
    yield from events


@fault(
    "heartbeat_forever",
    Stage.EVENTS,
    "after N tokens only comments come (before a JSON body: blanks), without end",
    quirks=(2,),
    tokens=0,
)
def heartbeat_forever(events: Iterator[Event], parameters: Parameters, generation: Made) -> Iterator[Event]:
    if parameters.count("tokens") and is_stream(generation):
        yield from split_at(events, parameters.count("tokens"))[0]
    while True:
        yield sign_of_life(generation)
        yield Pause(0.25)


def _silence(parameters: Parameters, generation: Made) -> Iterator[Event]:
    left = min(parameters.number("seconds"), FOREVER)
    while parameters.flag("comments") and left > 0.25:
        yield sign_of_life(generation)
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
