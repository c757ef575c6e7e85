"""The models on offer, read from the snapshot in `data/models.json`."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from openrouter_emulator.catalogue.pricing import PriceList

DATA = Path(__file__).parents[1] / "data"
_ROUTING_SUFFIX = re.compile(r":(nitro|floor|exacto|online|thinking|extended)$")


@dataclass(frozen=True, eq=False)
class Model:
    """One row of the catalogue; `row` is what `GET /models` shows."""

    row: dict[str, Any]

    @cached_property
    def id(self) -> str:
        return str(self.row["id"])

    @cached_property
    def author(self) -> str:
        return self.id.partition("/")[0]

    @cached_property
    def canonical_slug(self) -> str:
        return str(self.row["canonical_slug"])

    @cached_property
    def name(self) -> str:
        return str(self.row["name"])

    @cached_property
    def prices(self) -> PriceList:
        return PriceList.parse(self.row["pricing"])

    @cached_property
    def input_modalities(self) -> frozenset[str]:
        return frozenset(self.row["architecture"]["input_modalities"])

    @cached_property
    def output_modalities(self) -> frozenset[str]:
        return frozenset(self.row["architecture"]["output_modalities"])

    @cached_property
    def supported_parameters(self) -> frozenset[str]:
        return frozenset(self.row["supported_parameters"])

    @cached_property
    def context_length(self) -> int:
        return int(self.row["context_length"])

    @cached_property
    def max_completion_tokens(self) -> int:
        """The most it writes; the context length where the catalogue does not say."""
        return int(self.row["top_provider"]["max_completion_tokens"] or self.context_length)

    @cached_property
    def alias_target(self) -> str | None:
        target = self.row.get("alias_target")
        return target["slug"] if target else None

    @property
    def is_free(self) -> bool:
        return self.id.endswith(":free")


class Catalogue:
    """Looks models up by id, canonical slug or alias."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._models = {row["id"]: Model(row) for row in rows}
        self._by_slug = {model.canonical_slug: model for model in reversed(self._models.values())}

    @classmethod
    def shipped(cls) -> "Catalogue":
        return cls(json.loads((DATA / "models.json").read_text()))

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def get(self, model_id: str) -> Model | None:
        """The concrete model behind an id: routing suffixes dropped, aliases followed."""
        model_id = without_routing_suffix(model_id)
        model = self._models.get(model_id) or self._by_slug.get(model_id)
        if model is not None and model.alias_target is not None:
            return self._models[model.alias_target]
        return model


def without_routing_suffix(model_id: str) -> str:
    """`:nitro`, `:floor` and their like choose a host; `:free` and `:batch` belong to the id."""
    while (shorter := _ROUTING_SUFFIX.sub("", model_id)) != model_id:
        model_id = shorter
    return model_id
