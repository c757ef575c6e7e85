"""Reading one HTTP answer, whatever it turns out to be: a stream, one body, an error, a page of HTML."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec

from app.openrouter.error_reading import read_error
from app.openrouter.errors import OpenRouterError, TruncatedStream, UnreadableAnswer, UpstreamTimeout
from app.openrouter.reading import as_map, read_exact
from app.openrouter.response_body import ResponseBody
from app.openrouter.sse import SSEReader
from app.openrouter.streaming import CompletionFold
from app.openrouter.types import Completion, GenerationStarted, StreamEvent


class Answer:
    """A chat completion being read. Read until `ended`, then take the `completion`.

    The content type decides how to read: a request for a stream is often answered by one body.
    """

    def __init__(self, body: ResponseBody) -> None:
        self.ended = False
        self._body = body
        self._clock = body.clock
        self._fold = CompletionFold(generation_id=body.generation_id)
        self._reader = SSEReader()
        self._error: OpenRouterError | None = None
        self._is_stream = body.content_type == "text/event-stream" and body.status < 300

    @property
    def announced(self) -> GenerationStarted | None:
        """What the headers of a stream tell before its first chunk: the id under which it will be billed."""
        generation_id = self._body.generation_id
        return GenerationStarted(generation_id, None, None) if self._is_stream and generation_id else None

    async def read(self) -> list[StreamEvent]:
        """Wait for more; return what it holds, perhaps nothing. An error waits until what came before it is taken."""
        if self._error is not None:
            raise self._error
        events = await (self._read_piece() if self._is_stream else self._read_body())
        return events + self._fold.close() if self.ended else events

    def completion(self) -> Completion:
        clock = self._clock
        first = clock.first_content - clock.started if clock.first_content is not None else None
        total = asyncio.get_running_loop().time() - clock.started
        return replace(self._fold.finish(), first_token_seconds=first, total_seconds=total)

    async def drain(self) -> None:
        """After the end: make the connection fit to serve again."""
        await self._body.drain()

    async def _read_piece(self) -> list[StreamEvent]:
        try:
            piece = await self._body.next_piece()
            payloads = self._reader.feed(piece) if piece else self._reader.close()
        except (TruncatedStream, UpstreamTimeout, UnreadableAnswer) as error:
            if not self._fold.is_whole:
                raise self._fold.failed(error) from error.__cause__
            self.ended = True
            return []
        events = self._fold_all(payloads)
        self._note_time(events)
        if not piece:
            self._end_of_body()
        return events

    def _fold_all(self, payloads: list[bytes]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for payload in payloads:
            if payload == b"[DONE]":
                self.ended = True
                break
            try:
                events += self._fold.feed(payload)
            except OpenRouterError as error:
                self._error = error
                break
        return events

    def _note_time(self, events: list[StreamEvent]) -> None:
        if events and not (len(events) == 1 and isinstance(events[0], GenerationStarted)):
            self._clock.content_came(asyncio.get_running_loop().time())
        if self._fold.is_whole:
            self._clock.finish_reason_came(asyncio.get_running_loop().time())  # counts the first time

    def _end_of_body(self) -> None:
        # A line that was cut is no unreadable chunk: what is missing is the rest of the stream.
        if isinstance(self._error, UnreadableAnswer):
            self._error = None
        self.ended = self._error is None

    async def _read_body(self) -> list[StreamEvent]:
        try:
            body = await self._body.read()
        except OpenRouterError as error:
            raise self._fold.failed(error) from error.__cause__  # its headers named the generation: it may be billed
        if self._body.status >= 300:
            raise read_failure(self._body, body)
        if "json" not in self._body.content_type and body.lstrip().startswith(
            (b"data:", b":")
        ):  # a stream under a wrong name
            events = self._fold_all(self._reader.feed(body) + self._reader.close())
            self._end_of_body()
        else:
            events = self._fold.feed(body)
            self.ended = True
        self._note_time(events)
        return events


def read_failure(response: ResponseBody, body: bytes) -> OpenRouterError:
    """The error that an HTTP status and its body mean."""
    try:
        answer = as_map(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = {}
    error = answer.get("error") or {"message": answer.get("message") or f"OpenRouter answered HTTP {response.status}."}
    if response.status < 400:
        return UnreadableAnswer(f"OpenRouter answered HTTP {response.status}.", retryable=False)
    return read_error(error, status=response.status, headers=response.headers, generation_id=response.generation_id)


def read_data(body: bytes) -> Any:
    """The `data` of an answer, with exact decimals."""
    try:
        answer = as_map(read_exact(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswer("OpenRouter sent something that is not JSON.") from error
    if answer.get("error"):
        raise read_error(answer["error"])
    return answer.get("data")
