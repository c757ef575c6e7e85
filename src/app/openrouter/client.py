"""Asking OpenRouter: one call per method call, read as it comes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec

from app.openrouter.account import Credits, KeyInfo, read_credits, read_key
from app.openrouter.answers import Answer, read_data, read_failure
from app.openrouter.catalog import read_models, with_drawings
from app.openrouter.drawing import read_drawings
from app.openrouter.errors import GenerationNotFound, ModelNotFound, OpenRouterError, UnreadableAnswer
from app.openrouter.generations import GenerationRecord, read_generation
from app.openrouter.images import Drawing, ImageRequest, read_chat, read_images
from app.openrouter.models import ModelProfile
from app.openrouter.response_body import ResponseBody
from app.openrouter.streaming import joined
from app.openrouter.timeouts import StreamClock, Timeouts
from app.openrouter.transport import Transport
from app.openrouter.types import ChatRequest, Completion, CompletionFinished, StreamEvent

_FIRST_WAIT, _WAIT_GROWTH = 0.5, 1.5
"""Seconds before a record is asked for again, and how they grow."""


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
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._transport = Transport(
            base_url=base_url,
            api_key=api_key,
            headers=_app_headers(app_name, app_url),
            timeouts=self._timeouts,
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
            if answer.announced is not None:
                yield answer.announced
            while not answer.ended:
                for event in joined(await answer.read()):
                    yield event
            yield CompletionFinished(answer.completion())
            await answer.drain()

    async def draw(
        self,
        request: ImageRequest,
        *,
        most_bytes: int,
        when_started: Callable[[str], None],
        request_id: str | None = None,
    ) -> Drawing:
        """Pictures of at most `most_bytes` each. Raises :class:`NoPicture` when none came.

        `when_started` is told the generation's id as soon as the headers name it.
        """
        if request.modalities:
            return await self._draw_in_chat(request, most_bytes, when_started, request_id)
        timeouts = replace(self._timeouts, first_token=self._timeouts.total)
        async with self._post("/images", request.to_wire(), timeouts, request.model, request_id) as response:
            _tell(response, when_started)
            body = await response.read()
            if response.status >= 300:
                raise read_failure(response, body)
            return read_images(
                body,
                model=request.model,
                provider=response.headers.get("X-Provider-Name"),
                generation_id=response.generation_id,
                most_bytes=most_bytes,
            )

    async def _draw_in_chat(
        self, request: ImageRequest, most_bytes: int, when_started: Callable[[str], None], request_id: str | None
    ) -> Drawing:
        timeouts = replace(self._timeouts, first_token=self._timeouts.total)
        body = request.as_chat().to_wire(stream=False)
        async with self._post("/chat/completions", body, timeouts, request.model, request_id) as response:
            _tell(response, when_started)
            answer = Answer(response)
            while not answer.ended:
                await answer.read()
            return read_chat(answer.completion(), model=request.model, most_bytes=most_bytes)

    async def get_models(self) -> list[ModelProfile]:
        """All models OpenRouter offers, those too that make pictures only."""
        models = read_models(await self._look_up("/models", {"output_modalities": "all"}))
        if not models:
            raise UnreadableAnswer("OpenRouter listed no models.")
        try:
            drawings = read_drawings(await self._look_up("/images/models"))
        except OpenRouterError:
            drawings = {}  # what was known before holds
        return with_drawings(models, drawings)

    async def get_generation(self, generation_id: str, *, patience: float = 30.0) -> GenerationRecord:
        """What a generation was billed. Its record comes a while after the answer: asked for again until
        `patience` seconds are over, then the last error is raised, `GenerationNotFound` where there is no record.
        """
        started, wait = _now(), _FIRST_WAIT
        while True:
            try:
                return await self._get_generation(generation_id)
            except OpenRouterError as error:
                if not error.retryable or _now() + wait > started + patience:
                    raise
            await asyncio.sleep(wait)
            wait *= _WAIT_GROWTH

    async def get_key(self) -> KeyInfo:
        """The limits of the key that calls."""
        return read_key(await self._look_up("/key"))

    async def get_credits(self) -> Credits:
        """The account's credits; OpenRouter tells them to management keys only."""
        return read_credits(await self._look_up("/credits"))

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _get_generation(self, generation_id: str) -> GenerationRecord:
        try:
            data = await self._look_up("/generation", {"id": generation_id})
        except ModelNotFound as error:
            message = f"OpenRouter has no record of {generation_id!r}."
            raise GenerationNotFound(message, status=error.status, generation_id=generation_id) from error
        record = read_generation(data)
        if record is None:
            raise UnreadableAnswer("OpenRouter sent no record of the generation.", generation_id=generation_id)
        return record

    async def _look_up(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The `data` of a GET."""
        seconds = self._timeouts.lookup
        clock = StreamClock(replace(self._timeouts, first_token=seconds, total=seconds), _now())
        async with self._transport.call("GET", path, clock, params=params) as response:
            body = await response.read()
            if response.status >= 300:
                raise read_failure(response, body)
            return read_data(body)

    @asynccontextmanager
    async def _ask(
        self, request: ChatRequest, timeouts: Timeouts, *, stream: bool, request_id: str | None
    ) -> AsyncIterator[Answer]:
        headers = {"X-OpenRouter-Metadata": "enabled"} if request.wants_metadata else {}
        body = request.to_wire(stream=stream)
        async with self._post("/chat/completions", body, timeouts, request.model, request_id, headers) as response:
            yield Answer(response)

    @asynccontextmanager
    async def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        timeouts: Timeouts,
        model: str,
        request_id: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[ResponseBody]:
        """The response to a request for `model`, whose failures bear its name."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        sent |= {"X-Request-ID": request_id} if request_id else {}
        clock, generation_id = StreamClock(timeouts, _now()), None
        try:
            encoded = msgspec.json.encode(body)
            async with self._transport.call("POST", path, clock, body=encoded, headers=sent) as response:
                generation_id = response.generation_id
                yield response
        except OpenRouterError as error:
            error.model = error.model or model
            error.generation_id = error.generation_id or generation_id  # it may be billed
            raise


def _tell(response: ResponseBody, when_started: Callable[[str], None]) -> None:
    if response.generation_id is not None:
        when_started(response.generation_id)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _app_headers(app_name: str | None, app_url: str | None) -> Mapping[str, str]:
    headers = {"HTTP-Referer": app_url, "X-OpenRouter-Title": app_name}
    return {name: value for name, value in headers.items() if value}
