"""From the ids in a request to the models that are tried for it."""

import random
import re
from fnmatch import fnmatchcase
from typing import Any

from openrouter_emulator.catalogue.models import Catalogue, Model
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.http.errors import ApiError

SORT_SUFFIXES = {"nitro": "throughput", "floor": "price", "exacto": "throughput"}
AUTO_ROUTER = "openrouter/auto"
FREE_ROUTER = "openrouter/free"
RETIRED = {
    "anthropic/claude-3.5-sonnet": "anthropic/claude-sonnet-5.5",
    "google/gemini-2.5-flash-image-preview": "google/gemini-2.5-flash-image",
    "openai/dall-e-3": "openai/gpt-5-image",
    "black-forest-labs/flux-pro": "black-forest-labs/flux.2-pro",
    "black-forest-labs/flux-schnell": "black-forest-labs/flux.2-klein-4b",
}
"""Ids that are gone, and what is offered in their place."""
WITHOUT_HOST = frozenset({"google/gemini-2.5-flash-image-preview"})
_SUFFIX = re.compile(r":(nitro|floor|exacto)\b")


def require_models(catalogue: Catalogue, request: ChatRequest, *, default: str, chance: random.Random) -> list[Model]:
    """In the order they are tried, each once; one id that is not valid spoils the whole request."""
    models = []
    for model_id in request.model_ids or [default]:
        model = catalogue.get(model_id)
        if model is None:
            raise unknown_model(model_id)
        models.append(_concrete(catalogue, model, request, chance))
    return list(dict.fromkeys(models))


def sort_by_suffix(request: ChatRequest) -> str | None:
    """What `:nitro` and its like ask for; the last one wins."""
    found = [suffix for model_id in request.model_ids for suffix in _SUFFIX.findall(model_id)]
    return SORT_SUFFIXES[found[-1]] if found else None


def strategy_of(request: ChatRequest, attempts: int) -> str:
    """How the serving model came to be chosen, as `openrouter_metadata` says it."""
    first = (request.model_ids or [""])[0]
    if first.startswith(AUTO_ROUTER):
        return "auto"
    if first.startswith("~"):
        return "latest"
    if len(request.model_ids) > 1 or attempts > 1:
        return "fallback"
    return "free" if first == FREE_ROUTER else "direct"


def _concrete(catalogue: Catalogue, model: Model, request: ChatRequest, chance: random.Random) -> Model:
    if model.id == FREE_ROUTER:
        return chance.choice([one for one in catalogue if one.is_free])
    return _routed(catalogue, model, request, chance) if model.prices.is_routed else model


def _routed(catalogue: Catalogue, router: Model, request: ChatRequest, chance: random.Random) -> Model:
    """A router's pick: any concrete paid text model its plugin allows."""
    options: dict[str, Any] = next((one for one in request.plugins or () if one.get("id") == "auto-router"), {})
    allowed, excluded = options.get("allowed_models") or ["*"], options.get("excluded_models") or []
    fitting = [
        model
        for model in catalogue
        if not model.prices.is_routed
        and model.alias_target is None
        and not model.prices.is_free
        and "text" in model.output_modalities
        and _matches(model, allowed)
        and not _matches(model, excluded)
    ]
    if not fitting:
        raise ApiError(404, "No models match your request and model restrictions", metadata={"router": router.id})
    return chance.choice(fitting)


def _matches(model: Model, patterns: list[str]) -> bool:
    return any(fnmatchcase(model.id, pattern) for pattern in patterns)


def unknown_model(model_id: str) -> ApiError:
    """400 for an id that is unknown or dead; 404 for one that is listed but has no host left."""
    availability: dict[str, Any] = {"code": "model_not_found", "retryable": False, "requested_models": [model_id]}
    if model_id in RETIRED:
        availability["fallback_models"] = [RETIRED[model_id]]
    if model_id in WITHOUT_HOST:
        availability["code"] = "model_deprecated"
        return ApiError(404, f"No endpoints found for {model_id}.", availability=availability)
    return ApiError(400, f"{model_id} is not a valid model ID", availability=availability)
