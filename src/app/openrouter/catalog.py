"""The models that can be asked for, by every name under which people and answers know them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from app.openrouter.aliases import RETIRED, ROUTING_SUFFIXES, SUPERSEDED_SUFFIXES
from app.openrouter.drawing import DrawingProfile, shipped_drawings
from app.openrouter.errors import ModelNotFound
from app.openrouter.models import ModelProfile, read_model
from app.openrouter.reading import as_maps

_DATE = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A requested id, and the id to send in its place; they differ when a model retired."""

    requested: str
    id: str
    profile: ModelProfile
    note: str | None = None
    """A sentence for the caller when something else than the requested model is called."""

    @property
    def is_replaced(self) -> bool:
        return self.note is not None


class Catalog:
    """A set of models that does not change. `updated` gives a new one."""

    def __init__(self, models: Iterable[ModelProfile]) -> None:
        self._by_id = {model.id: model for model in models}
        variants_first = sorted(self._by_id.values(), key=lambda model: ":" not in model.id)
        self._by_slug = {model.canonical_slug: model for model in variants_first}

    def __iter__(self) -> Iterator[ModelProfile]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._by_id

    def get(self, model_id: str) -> ModelProfile | None:
        """The model of an id, an alias, a variant, or of the dated name that an answer gives it."""
        resolved = self.resolve(model_id) or self.resolve(_DATE.sub("", model_id))
        return resolved.profile if resolved else None

    def require(self, model_id: str) -> ModelProfile:
        return self.require_resolved(model_id).profile

    def require_resolved(self, model_id: str) -> ResolvedModel:
        resolved = self.resolve(model_id)
        if resolved is None:
            raise ModelNotFound(f"{model_id!r} is not a model that OpenRouter offers.", model=model_id)
        return resolved

    def resolve(self, model_id: str) -> ResolvedModel | None:
        """What to send for an id; None when nobody knows it. An id that is listed stands for itself."""
        profile = self._by_id.get(model_id) or self._by_slug.get(model_id)
        if profile is not None:
            return ResolvedModel(requested=model_id, id=profile.id, profile=profile)
        return self._successor(model_id) or self._without_suffix(model_id)

    def living(self, model_id: str) -> list[ModelProfile]:
        """The models that may answer for an id, the nearest first: several where it retired, none for an unknown id."""
        resolved = self.resolve(model_id)
        if resolved is None or not resolved.is_replaced:
            return [resolved.profile] if resolved else []
        return [self._by_id[each] for each in RETIRED.get(model_id, ()) if each in self._by_id] or [resolved.profile]

    def same_model(self, one: str, other: str) -> bool:
        """Whether two names mean one model, as when an answer names the asked model by its dated slug."""
        first, second = self.get(one), self.get(other)
        return one == other or (first is not None and second is not None and _target(first) == _target(second))

    def retired_ids(self) -> dict[str, list[str]]:
        """By the id of a living model, the retired ids it answers for."""
        found: dict[str, list[str]] = {}
        for retired in RETIRED:
            resolved = self.resolve(retired)
            if resolved is not None and resolved.is_replaced:
                found.setdefault(resolved.id, []).append(retired)
        return found

    def updated(self, live: Iterable[ModelProfile]) -> "Catalog":
        """This catalogue as a floor, with the `live` rows over it; they need not tell how a model draws."""
        return Catalog({**self._by_id, **{model.id: self._drawing_as_before(model) for model in live}}.values())

    def _drawing_as_before(self, live: ModelProfile) -> ModelProfile:
        known = self._by_id.get(live.id)
        return replace(live, drawing=known.drawing) if live.drawing is None and known is not None else live

    def _successor(self, model_id: str) -> ResolvedModel | None:
        for successor in RETIRED.get(model_id, ()):
            if successor in self._by_id:
                note = f"{model_id!r} is no longer offered; {successor!r} answers in its place."
                profile = self._by_id[successor]
                return ResolvedModel(requested=model_id, id=successor, profile=profile, note=note)
        return None

    def _without_suffix(self, model_id: str) -> ResolvedModel | None:
        # An unknown `:free` finds nothing: the paid model must not step in for it.
        base, colon, suffix = model_id.rpartition(":")
        if not colon or suffix not in ROUTING_SUFFIXES | SUPERSEDED_SUFFIXES:
            return None
        resolved = self.resolve(base)
        if resolved is None:
            return None
        kept = f"{resolved.id}:{suffix}" if suffix in ROUTING_SUFFIXES else resolved.id
        return ResolvedModel(requested=model_id, id=kept, profile=resolved.profile, note=resolved.note)


@cache
def shipped_catalog() -> Catalog:
    """The models known when this version was made."""
    shipped = msgspec.json.decode(files("app.openrouter").joinpath("data/models.json").read_bytes())
    return Catalog(with_drawings(read_models(shipped["data"]), shipped_drawings()))


def read_models(data: Any) -> list[ModelProfile]:
    """The rows of a `GET /models` answer; what is no model is left out."""
    return [model for row in as_maps(data) if (model := read_model(row)) is not None]


def with_drawings(models: Iterable[ModelProfile], drawings: Mapping[str, DrawingProfile]) -> list[ModelProfile]:
    """The models, those among `drawings` with what they can be asked to draw."""
    return [replace(model, drawing=drawings.get(model.id)) for model in models]


def _target(model: ModelProfile) -> str:
    return model.alias_target or model.id.partition(":")[0]
