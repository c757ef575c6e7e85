"""A response whose headers have come, its body read piece by piece under the clocks of the call."""

import asyncio
from collections.abc import Mapping

import aiohttp

from app.openrouter.errors import TruncatedStream, UnreadableAnswer
from app.openrouter.reading import as_id
from app.openrouter.timeouts import StreamClock

MAX_BODY_BYTES = 256 * 1024 * 1024
_DRAIN_SECONDS = 0.1


class ResponseBody:
    """Reads until the deadline of its clock, which moves as content comes.

    One timer watches over the whole body: setting one for every piece would cost more than reading the piece.
    """

    def __init__(self, response: aiohttp.ClientResponse, clock: StreamClock) -> None:
        self.clock = clock
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._is_waiting = False
        self._ran_out = False

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def content_type(self) -> str:
        """Without its parameters, in small letters."""
        return self._response.content_type

    @property
    def generation_id(self) -> str | None:
        return as_id(self._response.headers.get("X-Generation-Id"))

    async def next_piece(self) -> bytes:
        """What came since the last piece, at least one byte; nothing at the end of the body."""
        self._is_waiting = True
        if self._timer is None or self.clock.deadline < self._rings_at:
            self._set_timer()
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            if self._ran_out:
                raise self.clock.ran_out() from error
            raise TruncatedStream("The connection broke before the answer was complete.") from error
        finally:
            self._is_waiting = False

    async def read(self) -> bytes:
        """The whole body."""
        pieces, size = [], 0
        while piece := await self.next_piece():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise UnreadableAnswer(f"The answer has more than {MAX_BODY_BYTES} bytes.")
        return b"".join(pieces)

    async def drain(self) -> None:
        """Wait a moment for the end of the body: with it the connection can serve again."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._response.content.readany()
        except (aiohttp.ClientError, OSError):  # TimeoutError is one of them
            return

    def leave(self) -> None:
        """End the call. A body read to its end has given its connection back; any other ends with its connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self.clock.deadline
        self._timer = self._loop.call_at(self._rings_at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self._is_waiting:
            return  # the reader takes its time; the next wait sets the timer anew
        if self._loop.time() < self.clock.deadline:
            self._set_timer()
            return
        self._ran_out = True
        self._response.close()  # wakes whoever waits for a piece
