"""`/__emulator__/...`: how tests and operators look inside and change the weather."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from openrouter_emulator.faults.library import FAULTS
from openrouter_emulator.faults.rules import convert_rule
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.request_log import FILTERS
from openrouter_emulator.http.wire import json_response
from openrouter_emulator.state import Emulator


async def list_requests(request: Request) -> Response:
    """Newest last; identifiers narrow it down, `limit` keeps the newest; `count` is that of all that match."""
    wanted = {name: request.query_params[name] for name in FILTERS if name in request.query_params}
    found = _emulator(request).requests.list_matching(wanted)
    limit = request.query_params.get("limit", "")
    shown = found[-int(limit) :] if limit.isdigit() and int(limit) else found
    return json_response({"requests": [exchange.view() for exchange in shown], "count": len(found)})


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


async def show_parses(request: Request) -> Response:
    """What became of every document, newest last; `?hash=` for one of them."""
    return json_response(_emulator(request).parses.view(request.query_params.get("hash")))


async def clear_bill(request: Request) -> Response:
    """Gives the credits back as well."""
    _emulator(request).bill.clear()
    return json_response({"cleared": True})


async def list_faults(request: Request) -> Response:
    rules = [msgspec.to_builtins(rule) for rule in _emulator(request).faults]
    return json_response({"faults": rules, "count": len(rules)})


async def add_fault(request: Request) -> Response:
    """A standing order; its `id` removes it again."""
    rule = _emulator(request).faults.add(convert_rule(await read_object(request)))
    return json_response(msgspec.to_builtins(rule), status=201)


async def remove_faults(request: Request) -> Response:
    """One by `?id=`, or all."""
    rule_id = request.query_params.get("id", "")
    if rule_id and not rule_id.isdecimal():
        raise ApiError(400, "'id' must be the number of a standing order")
    return json_response({"removed": _emulator(request).faults.remove(int(rule_id) if rule_id else None)})


async def list_known_faults(_request: Request) -> Response:
    return json_response({"faults": [FAULTS[name].view() for name in sorted(FAULTS)], "count": len(FAULTS)})


async def show_clock(request: Request) -> Response:
    return json_response({"now": _emulator(request).clock.now()})


async def advance_clock(request: Request) -> Response:
    """Caches, pins, limits and generation records grow older by `advance` seconds."""
    seconds = (await read_object(request)).get("advance")
    if not isinstance(seconds, int | float) or seconds < 0:
        raise ApiError(400, "'advance' must be a number of seconds, zero or more")
    _emulator(request).clock.advance(seconds)
    return await show_clock(request)


async def show_hosts(request: Request) -> Response:
    """The providers that are set to fail, with the status of every call to them."""
    return json_response(_emulator(request).health.statuses)


async def change_hosts(request: Request) -> Response:
    """`{"Anthropic": 503}` makes a provider fail, null heals it; slugs will do as well."""
    emulator = _emulator(request)
    for name, status in (await read_object(request)).items():
        provider = next((one for one in emulator.hosts.providers.values() if name in (one.name, one.slug)), None)
        if provider is None:
            raise ApiError(400, f"no provider is called {name!r}")
        if status is None:
            emulator.health.statuses.pop(provider.name, None)
        elif isinstance(status, int) and 400 <= status <= 599:
            emulator.health.statuses[provider.name] = status
        else:
            raise ApiError(400, "a status is a number from 400 to 599, or null")
    return await show_hosts(request)


async def reset(request: Request) -> Response:
    """Forget requests, bill, faults, caches, pins, limits and host failures; settings and clock stay."""
    _emulator(request).reset()
    return json_response({"reset": True})


async def read_object(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ApiError(400, str(error)) from None


def _emulator(request: Request) -> Emulator:
    emulator: Emulator = request.app.state.emulator
    return emulator
