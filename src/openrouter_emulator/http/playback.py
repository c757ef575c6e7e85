"""Sends an answer piece by piece at its own pace, and notices when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from openrouter_emulator.http.events import Close, Data, Event, Pause, content_tokens, encode_event
from openrouter_emulator.http.request_log import Exchange

PIECE_BYTES = 16 * 1024
PATIENCE = 0.002
"""Waits shorter than this are not worth a timer: what is due then travels in the same piece."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What goes to the socket in one write; `tokens` counts the content in it."""

    content: bytes
    tokens: int = 0


class ConnectionBroken(Exception):
    """The response is to end without its proper end."""


async def paced(events: Iterator[Event], *, tokens_per_second: float) -> AsyncIterator[Piece]:
    """Events in pieces, each sent when it is due; a sender that fell behind catches up with larger pieces."""
    clock = asyncio.get_running_loop().time
    due, content, tokens = clock(), bytearray(), 0
    for event in events:
        if isinstance(event, Close):
            yield Piece(bytes(content), tokens)
            raise ConnectionBroken
        due += _duration(event, tokens_per_second)
        if (content and due - clock() > PATIENCE) or len(content) > PIECE_BYTES:
            yield Piece(bytes(content), tokens)
            content, tokens = bytearray(), 0
        if due - clock() > PATIENCE:
            await asyncio.sleep(due - clock())
        if not isinstance(event, Pause):
            content += encode_event(event)
            tokens += content_tokens(event)
    yield Piece(bytes(content), tokens)


def _duration(event: Event, tokens_per_second: float) -> float:
    if isinstance(event, Pause):
        return event.seconds
    return event.tokens / tokens_per_second if isinstance(event, Data) and tokens_per_second else 0.0


class Playback:
    """An ASGI response; `on_end` runs once at the end and is told whether the client had left before it."""

    def __init__(
        self,
        pieces: AsyncIterator[Piece],
        *,
        headers: dict[str, str],
        status: int = 200,
        on_end: Callable[[bool], None] = lambda _left: None,
    ) -> None:
        self._pieces = pieces
        self._start = {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        self._on_end = on_end
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        playing = asyncio.create_task(self._play(scope["exchange"], send))
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((playing, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._end(left=not playing.done())
            leaving.cancel()
            playing.cancel()
            results = await asyncio.gather(playing, leaving, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    def _end(self, *, left: bool) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(left)

    async def _play(self, exchange: Exchange, send: Send) -> None:
        await send(self._start)
        try:
            async with aclosing(self._pieces) as pieces:  # type: ignore[type-var]  # an async generator in practice
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece.content, "more_body": True})
                    exchange.content_tokens_sent += piece.tokens
                    await asyncio.sleep(0)  # lets the listener hear that the client left
        except ConnectionBroken:
            return  # the server closes a connection whose response was not completed
        self._end(left=False)  # before the last byte, so that whoever has read it finds the books in order
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
