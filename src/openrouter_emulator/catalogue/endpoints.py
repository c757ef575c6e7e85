"""`GET /models` with its filters, `/models/count`, and single models."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from starlette.datastructures import QueryParams

from openrouter_emulator.call import Call
from openrouter_emulator.catalogue.models import Catalogue, Model
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.playback import Playback

PER_MILLION = Decimal(1_000_000)
MAX_LIMIT = 1_000
Test = Callable[[Model], bool]


async def list_models(call: Call) -> Playback:
    """Text models unless `output_modalities` says otherwise; pages only when asked to."""
    query = call.request.query_params
    rows = [model.row for model in select_models(call.emulator.catalogue, query)]
    return call.answer_json({"data": page(rows, query), "total_count": len(rows), "links": {"next": None}})


async def count_models(call: Call) -> Playback:
    found = select_models(call.emulator.catalogue, call.request.query_params)
    return call.answer_json({"data": {"count": len(found)}})


async def show_model(call: Call) -> Playback:
    """One model; aliases and routing suffixes are resolved."""
    return call.answer_json({"data": require_model(call).row})


def require_model(call: Call) -> Model:
    """The model the path names."""
    model_id = "{author}/{slug}".format(**call.request.path_params)
    model = call.emulator.catalogue.get(model_id)
    if model is None:
        raise ApiError(404, f"Model {model_id} not found")
    return model


def select_models(catalogue: Catalogue, query: QueryParams) -> list[Model]:
    tests = [make(query[name]) for name, make in FILTERS.items() if query.get(name)]
    if not query.get("output_modalities"):
        tests.append(lambda model: "text" in model.output_modalities)
    return [model for model in catalogue if all(test(model) for test in tests)]


def page(rows: list[dict[str, Any]], query: QueryParams) -> list[dict[str, Any]]:
    offset, limit = _number(query, "offset", 0), _number(query, "limit", MAX_LIMIT)
    if limit > MAX_LIMIT:
        raise ApiError(400, f"limit must be at most {MAX_LIMIT}")
    return rows[offset : offset + limit]


def _number(query: QueryParams, name: str, default: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    if not value.isdecimal():
        raise ApiError(400, f"{name} must be a non-negative integer")
    return int(value)


def _names(value: str) -> set[str]:
    return {name.strip() for name in value.split(",") if name.strip()}


def _by_output(value: str) -> Test:
    wanted = _names(value)
    return lambda model: "all" in wanted or bool(wanted & model.output_modalities)


def _by_input(value: str) -> Test:
    wanted = _names(value)
    return lambda model: wanted <= model.input_modalities


def _by_parameters(value: str) -> Test:
    wanted = _names(value)
    return lambda model: wanted <= model.supported_parameters


def _by_text(value: str) -> Test:
    return lambda model: value.lower() in f"{model.id} {model.name}".lower()


def _by_author(value: str) -> Test:
    return lambda model: model.author in _names(value)


def _by_context(value: str) -> Test:
    if not value.isdecimal():
        raise ApiError(400, "context must be a non-negative integer")
    return lambda model: model.context_length >= int(value)


def _by_price(at_most: bool) -> Callable[[str], Test]:
    def make(value: str) -> Test:
        try:
            bound = Decimal(value) / PER_MILLION
            bound.compare_signal(Decimal(0))  # refuses NaN
        except ArithmeticError:
            raise ApiError(400, "a price must be a number of USD per million tokens") from None
        return lambda model: (
            (model.prices.prices["prompt"] <= bound) if at_most else (model.prices.prices["prompt"] >= bound)
        )

    return make


FILTERS: dict[str, Callable[[str], Test]] = {
    "output_modalities": _by_output,
    "input_modalities": _by_input,
    "supported_parameters": _by_parameters,
    "q": _by_text,
    "model_authors": _by_author,
    "context": _by_context,
    "max_price": _by_price(at_most=True),
    "min_price": _by_price(at_most=False),
}
