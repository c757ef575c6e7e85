"""Asking OpenRouter: one call per method call, read as it comes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec

from app.openrouter.answers import Answer
from app.openrouter.errors import OpenRouterError
from app.openrouter.timeouts import StreamClock, Timeouts
from app.openrouter.transport import Transport
from app.openrouter.types import ChatRequest, Completion, CompletionFinished, StreamEvent


class OpenRouterClient:
    """Sends one request, once, and reads what comes back. Retries and fallbacks stand above it."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        app_name: str | None = None,
        app_url: str | None = None,
        timeouts: Timeouts | None = None,
        max_connections: int = 1000,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._transport = Transport(
            base_url=base_url,
            api_key=api_key,
            headers=_app_headers(app_name, app_url),
            timeouts=self._timeouts,
            max_connections=max_connections,
        )

    async def complete(self, request: ChatRequest, *, request_id: str | None = None) -> Completion:
        """The whole answer at once. Only the clocks for connecting and for the total run."""
        timeouts = replace(self._timeouts, first_token=self._timeouts.total)
        async with self._ask(request, timeouts, stream=False, request_id=request_id) as answer:
            while not answer.ended:
                await answer.read()
            return replace(answer.completion(), first_token_seconds=None)

    async def stream(self, request: ChatRequest, *, request_id: str | None = None) -> AsyncGenerator[StreamEvent]:
        """The answer as it comes; the last event is `CompletionFinished`.

        Wrap it in `contextlib.aclosing`: whoever leaves early, leaves the call upstream at once.
        """
        async with self._ask(request, self._timeouts, stream=True, request_id=request_id) as answer:
            while not answer.ended:
                for event in await answer.read():
                    yield event
            yield CompletionFinished(answer.completion())
            await answer.drain()

    async def aclose(self) -> None:
        await self._transport.aclose()

    @asynccontextmanager
    async def _ask(
        self, request: ChatRequest, timeouts: Timeouts, *, stream: bool, request_id: str | None
    ) -> AsyncIterator[Answer]:
        body = msgspec.json.encode(request.to_wire(stream=stream))
        headers = {"Content-Type": "application/json"} | ({"X-Request-ID": request_id} if request_id else {})
        clock = StreamClock(timeouts, asyncio.get_running_loop().time())
        try:
            async with self._transport.call("POST", "/chat/completions", clock, body=body, headers=headers) as response:
                yield Answer(response, clock)
        except OpenRouterError as error:
            error.model = error.model or request.model
            raise


def _app_headers(app_name: str | None, app_url: str | None) -> Mapping[str, str]:
    headers = {"HTTP-Referer": app_url, "X-OpenRouter-Title": app_name}
    return {name: value for name, value in headers.items() if value}
