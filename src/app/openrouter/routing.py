"""Which models to ask for one turn, in which order, and how OpenRouter is to choose among their hosts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.openrouter.catalog import Catalog, ResolvedModel
from app.openrouter.content import without_foreign_reasoning
from app.openrouter.errors import ModelNotFound
from app.openrouter.models import ModelProfile
from app.openrouter.types import MODELS_ON_THE_WIRE, ChatRequest, ProviderPreferences

Strategy = Literal["auto", "fallback", "price", "throughput", "latency"]
"""- `auto`: OpenRouter chooses hosts by price and health, keeps to a warm cache, and tries up to three models a call.
- `fallback`: one model a call, in the stated order; each failure is seen, recorded and told before the next is asked.
- `price`, `throughput`, `latency`: as `auto`, but the cheapest, fastest or soonest host of each model goes first.
  OpenRouter then neither balances its load nor, perhaps, keeps to a warm cache."""

AUTO_ROUTER = "openrouter/auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a model must be able to do for this turn."""

    schema: bool = False
    tools: bool = False
    web_search: bool = False
    """By OpenRouter's server tool, which the model has to call; of such a request it takes one model at a time."""
    images: bool = False
    audio: bool = False
    native_files: bool = False
    """The model itself must read them; parsed by OpenRouter, files suit every model."""
    image_output: bool = False
    context_tokens: int = 0
    """Prompt and answer together."""

    def unmet(self, model: ModelProfile) -> str | None:
        """The first need that the model does not meet, in words."""
        missing = (
            (self.schema and not model.knows("structured_outputs"), "answer by a schema"),
            (self.tools and not model.knows("tools"), "use tools"),
            (self.web_search and not model.knows("tools"), "search the web"),
            (self.images and not model.reads("image"), "read images"),
            (self.audio and not model.reads("audio"), "hear audio"),
            (self.native_files and not model.reads("file"), "read files"),
            (self.image_output and not model.makes_images, "make images"),
            (self.context_tokens > (model.context_length or self.context_tokens), "hold so long a conversation"),
        )
        return next((words for is_missing, words in missing if is_missing), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """How an operator wants turns to be routed."""

    default_model: str
    strategy: Strategy = "auto"
    routing_enabled: bool = True
    """False: the requested model alone is called, and fallbacks are ignored with a note."""
    default_fallback_models: tuple[str, ...] = ()
    """For turns that name no fallbacks of their own."""
    auto_router_enabled: bool = False
    """True: OpenRouter's router chooses the model for turns that name none."""
    auto_router_models: tuple[str, ...] = ()
    """What the router may choose, patterns such as `anthropic/*` too; empty: everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """The calls a turn may make: the models of one call in a layer, the next layer when that call failed."""

    requested: str
    """The first model, as it is sent."""
    strategy: str
    layers: tuple[tuple[str, ...], ...]
    provider: ProviderPreferences | None = None
    plugins: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for the caller: what was replaced, left out or ignored, and why."""

    def request(self, base: ChatRequest, models: Sequence[str]) -> ChatRequest:
        """`base`, asking these models. What another family signed is not sent back to them."""
        plugins = (*(base.plugins or ()), *self.plugins)
        return replace(
            base,
            model=models[0],
            fallback_models=tuple(models[1:]),
            messages=without_foreign_reasoning(base.messages, models),
            provider=self.provider,
            plugins=plugins or None,
        )


def able_models(catalog: Catalog, needs: Needs) -> list[ModelProfile]:
    """Which models can do it and answer in text, the cheapest answers first; no routers, and nothing twice."""
    found = [
        model
        for model in catalog
        if not model.is_router
        and model.alias_target is None
        and "text" in model.output_modalities
        and not model.makes_images
        and model.prices.base.completion is not None
        and needs.unmet(model) is None
    ]
    return sorted(found, key=lambda model: (model.prices.base.completion, model.id))


def plan_route(
    requested: str | None,
    *,
    policy: RoutePolicy,
    catalog: Catalog,
    fallback_models: Sequence[str] = (),
    needs: Needs | None = None,
    provider: ProviderPreferences | None = None,
) -> RoutePlan:
    """Plan a turn. `fallback_models` are the request's own and stand in for the default ones.

    Raises `ModelNotFound` when the requested model is unknown, or no model of the chain can do what is needed.
    """
    needs = needs or Needs()
    notes: list[str] = []
    first = _first(requested, policy, catalog, notes)
    others = _others(fallback_models, policy, notes)
    chain = _chain((first, *others), catalog, needs, notes)
    strategy = policy.strategy if policy.routing_enabled else "off"
    one_a_call = strategy in ("off", "fallback") or needs.web_search
    size = 1 if one_a_call else MODELS_ON_THE_WIRE
    return RoutePlan(
        requested=first,
        strategy=strategy,
        layers=tuple(chain[start : start + size] for start in range(0, len(chain), size)),
        provider=_preferences(provider, needs, strategy),
        plugins=_router_plugins(policy) if AUTO_ROUTER in chain else (),
        notes=tuple(notes),
    )


def _first(requested: str | None, policy: RoutePolicy, catalog: Catalog, notes: list[str]) -> str:
    routed = policy.auto_router_enabled and policy.routing_enabled
    if requested == AUTO_ROUTER and not routed:
        notes.append(f"The auto router is switched off; {policy.default_model!r} answers in its place.")
        requested = policy.default_model
    if requested is None and not routed and catalog.resolve(policy.default_model) is None:
        return policy.default_model  # the operator may know a model before the catalogue does
    return _noted(catalog.require_resolved(requested or (AUTO_ROUTER if routed else policy.default_model)), notes)


def _others(fallback_models: Sequence[str], policy: RoutePolicy, notes: list[str]) -> Sequence[str]:
    if policy.routing_enabled:
        return fallback_models or policy.default_fallback_models
    if fallback_models:
        notes.append("Model routing is switched off: the fallback models were not used.")
    return ()


def _chain(models: Iterable[str], catalog: Catalog, needs: Needs, notes: list[str]) -> tuple[str, ...]:
    """The models that can do it, each once. Of a model that is not listed nothing is known: it may serve plain text."""
    able: dict[str, None] = {}
    for model in models:
        resolved = catalog.resolve(model)
        unmet = needs.unmet(resolved.profile) if resolved else (needs != Needs() and "be relied on here: it is unknown")
        if unmet:
            notes.append(f"{model!r} cannot {unmet} and was left out.")
        else:
            able[_noted(resolved, notes) if resolved else model] = None
    if not able:
        raise ModelNotFound(" ".join(notes))
    return tuple(able)


def _noted(resolved: ResolvedModel, notes: list[str]) -> str:
    if resolved.note and resolved.note not in notes:
        notes.append(resolved.note)
    return resolved.id


def _preferences(given: ProviderPreferences | None, needs: Needs, strategy: str) -> ProviderPreferences | None:
    preferences = given or ProviderPreferences()
    if strategy in ("price", "throughput", "latency") and preferences.sort is None:
        preferences = replace(preferences, sort=strategy)
    if needs.schema:
        # Without it a host that lacks schemas ignores the field and answers in prose.
        preferences = replace(preferences, require_parameters=True)
    return preferences if preferences != ProviderPreferences() else None


def _router_plugins(policy: RoutePolicy) -> tuple[Mapping[str, Any], ...]:
    allowed = list(policy.auto_router_models)
    return ({"id": "auto-router", "allowed_models": allowed},) if allowed else ()
