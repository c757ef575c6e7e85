"""`/__emulator__/...`: how tests and operators look inside and change the weather."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.request_log import FILTERS
from openrouter_emulator.http.wire import json_response
from openrouter_emulator.state import Emulator


async def list_requests(request: Request) -> Response:
    """Newest last; `session_id`, `user`, `request_id`, `generation_id` and `path` narrow it down."""
    wanted = {name: request.query_params[name] for name in FILTERS if name in request.query_params}
    found = _emulator(request).requests.list_matching(wanted)
    return json_response({"requests": [exchange.view() for exchange in found], "count": len(found)})


async def clear_requests(request: Request) -> Response:
    _emulator(request).requests.clear()
    return json_response({"cleared": True})


async def show_settings(request: Request) -> Response:
    return json_response(msgspec.to_builtins(_emulator(request).settings))


async def change_settings(request: Request) -> Response:
    """Only the settings named in the body change."""
    emulator = _emulator(request)
    try:
        emulator.apply(emulator.settings.updated(await read_object(request)))
    except msgspec.ValidationError as error:
        raise ApiError(400, str(error)) from None
    return json_response(msgspec.to_builtins(emulator.settings))


async def show_bill(request: Request) -> Response:
    """All that was charged, or that of the given `generation_id`s (repeated or comma-separated)."""
    ids = {one for given in request.query_params.getlist("generation_id") for one in given.split(",")}
    return json_response(_emulator(request).bill.view(ids))


async def clear_bill(request: Request) -> Response:
    _emulator(request).bill.clear()
    return json_response({"cleared": True})


async def read_object(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ApiError(400, str(error)) from None


def _emulator(request: Request) -> Emulator:
    emulator: Emulator = request.app.state.emulator
    return emulator
