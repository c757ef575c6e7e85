"""The events of a stream before they are bytes: what is sent, and how long the sender waits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openrouter_emulator.http.wire import encode

PROCESSING = ": OPENROUTER PROCESSING\n\n"


@dataclass(frozen=True, slots=True)
class Data:
    """One `data:` event; `tokens` is how much it carries of what the model writes, thinking included."""

    payload: dict[str, Any]
    tokens: int = 0
    is_content: bool = False
    """Whether its tokens are visible text."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes sent as they stand."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is sent for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """The connection breaks without a proper end of the response."""


Event = Data | Raw | Pause | Close
COMMENT = Raw(PROCESSING.encode())
DONE = Raw(b"data: [DONE]\n\n")


def encode_event(event: Data | Raw) -> bytes:
    return event.content if isinstance(event, Raw) else b"data: " + encode(event.payload) + b"\n\n"


def content_tokens(event: Event) -> int:
    return event.tokens if isinstance(event, Data) and event.is_content else 0


def waiting(seconds: float, interval: float) -> Iterator[Event]:
    """Comments at once and at each interval, until the time is over."""
    yield COMMENT
    while seconds > interval:
        yield Pause(interval)
        yield COMMENT
        seconds -= interval
    if seconds > 0:
        yield Pause(seconds)
