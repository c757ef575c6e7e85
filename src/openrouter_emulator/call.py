"""One API call: who calls, with what body, under which faults; and how it is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from openrouter_emulator.account.authentication import require_key
from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.faults.active import ActiveFaults
from openrouter_emulator.faults.rules import parse_header
from openrouter_emulator.http.errors import ApiError, ConnectionReset
from openrouter_emulator.http.events import Event, Raw
from openrouter_emulator.http.playback import Playback, paced
from openrouter_emulator.http.request_log import Exchange
from openrouter_emulator.http.wire import encode
from openrouter_emulator.state import Emulator

FAULT_HEADER = "x-emulator-fault"
JSON = "application/json"


@dataclass(slots=True)
class Call:
    """Handlers answer through it, so that faults reach every byte."""

    emulator: Emulator
    request: Request
    exchange: Exchange
    body: bytes
    faults: ActiveFaults

    def answer_json(self, payload: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Playback:
        return self.play(iter([Raw(encode(payload))]), status=status, headers=headers or {})

    def answer_error(self, error: ApiError) -> Playback:
        return self.answer_json(self.faults.error(error.body()), status=error.http_status, headers=error.headers)

    def play(
        self,
        events: Iterator[Event],
        *,
        headers: dict[str, str],
        status: int = 200,
        tokens_per_second: float = 0.0,
        generation: Generation | None = None,
        on_end: Callable[[bool], None] = lambda _left: None,
    ) -> Playback:
        """Events, bent by the faults of this call, at the given speed."""
        events = self.faults.events(events, generation)
        return Playback(
            self.faults.pieces(paced(events, tokens_per_second=tokens_per_second)),
            headers=self.faults.headers({"Content-Type": JSON, **headers}),
            status=status,
            on_end=on_end,
        )


Handler = Callable[[Call], Awaitable[Playback]]


def endpoint(handler: Handler, *, public: bool = False) -> Callable[[Request], Awaitable[ASGIApp]]:
    """A Starlette endpoint: faults are drawn, the key is checked, refusals become envelopes."""

    async def answer(request: Request) -> ASGIApp:
        call = await _open(request)
        try:
            call.faults = _draw_faults(call)
            call.exchange.faults = call.faults.names
            await asyncio.sleep(call.faults.delay)
            call.faults.refuse()
            if not public:
                require_key(request, call.emulator.settings.api_keys)
            return await handler(call)
        except ApiError as error:
            return call.answer_error(error)
        except ConnectionReset:
            return reset_connection

    return answer


async def reset_connection(scope: Scope, _receive: Receive, _send: Send) -> None:
    """Break the socket under the server: ASGI itself has no way to answer nothing at all."""
    transport = scope.get("transport")
    if transport is not None:
        transport.abort()
    await asyncio.sleep(0)


async def _open(request: Request) -> Call:
    emulator: Emulator = request.app.state.emulator
    return Call(emulator, request, request.scope["exchange"], await request.body(), ActiveFaults())


def _draw_faults(call: Call) -> ActiveFaults:
    """Those of the request's own header, then the standing orders that concern it."""
    headers, chance = call.request.headers, call.emulator.chance
    own = parse_header(headers.get(FAULT_HEADER, ""), chance)
    standing = call.emulator.faults
    if not standing:
        return ActiveFaults(own)
    return ActiveFaults(own + standing.strike(call.exchange.path, headers, _json_object(call.body), chance))


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}
