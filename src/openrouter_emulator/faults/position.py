"""Positions in a stream, counted in tokens of visible text."""

from collections.abc import Iterator

from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.http.events import COMMENT, Event, Raw, content_tokens

BLANKS = Raw(b"\n         \n")
Made = Generation | None
"""None where nothing was generated: errors, lists, records."""


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


def is_stream(generation: Made) -> bool:
    return generation is not None and generation.streamed


def sign_of_life(generation: Made) -> Raw:
    """What says that work goes on: a comment in a stream, a line of blanks before a JSON body."""
    return COMMENT if is_stream(generation) else BLANKS
