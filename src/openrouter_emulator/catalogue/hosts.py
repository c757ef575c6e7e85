"""Who serves which model, at what price and with what manners; read from `data/hosts.json`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from openrouter_emulator.catalogue.models import DATA, Model
from openrouter_emulator.catalogue.pricing import PriceList

CACHE_PRICES = ("input_cache_read", "input_cache_write", "input_cache_write_1h")


@dataclass(frozen=True, slots=True)
class Provider:
    """A company that runs models; `latency` is seconds to the first token."""

    name: str
    slug: str
    can_abort: bool
    """Whether billing stops when the client leaves."""
    zero_retention: bool
    trains: bool
    """Whether it may use prompts for training, which `data_collection: deny` excludes."""
    tokens_per_second: float
    latency: float
    quantization: str | None


@dataclass(frozen=True, eq=False)
class Host:
    """One provider serving one model."""

    provider: Provider
    model: Model
    pricing: Mapping[str, Any]
    supported_parameters: frozenset[str]

    @property
    def name(self) -> str:
        return self.provider.name

    @cached_property
    def prices(self) -> PriceList:
        return PriceList.parse(self.pricing)

    @property
    def caches(self) -> bool:
        """Whether reading from its prompt cache is cheaper than sending the prompt again."""
        prices = self.prices.prices
        return prices.get("input_cache_read", prices["prompt"]) < prices["prompt"]

    def answers_to(self, slug: str) -> bool:
        """A base slug matches every region and variant; display names are accepted as well."""
        name = slug.lower()
        return name == self.provider.name.lower() or name.partition("/")[0] == self.provider.slug


class HostDirectory:
    """All providers, and the hosts of each model with the catalogue's own price first."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.providers = {name: Provider(name=name, **traits) for name, traits in data["providers"].items()}
        self._serving = [(re.compile(row["models"]), row["hosts"]) for row in data["serving"]]
        self._known: dict[str, tuple[Host, ...]] = {}

    @classmethod
    def shipped(cls) -> "HostDirectory":
        return cls(json.loads((DATA / "hosts.json").read_text()))

    def of(self, model: Model) -> tuple[Host, ...]:
        if model.id not in self._known:
            rows: list[dict[str, Any]] = next((rows for ids, rows in self._serving if ids.fullmatch(model.id)), [])
            self._known[model.id] = tuple(self._host(model, row) for row in rows)
        return self._known[model.id]

    def _host(self, model: Model, row: Mapping[str, Any]) -> Host:
        return Host(
            provider=self.providers[row["provider"]],
            model=model,
            pricing=_priced(model.row["pricing"], Decimal(row["price_factor"]), caches=row.get("caches", True)),
            supported_parameters=model.supported_parameters - set(row.get("without", ())),
        )


def _priced(pricing: Mapping[str, Any], factor: Decimal, *, caches: bool) -> dict[str, Any]:
    """The catalogue's prices times a factor; a host without a cache has no cache prices."""
    dropped = () if caches else CACHE_PRICES
    return {name: _scaled(value, factor, caches) for name, value in pricing.items() if name not in dropped}


def _scaled(value: Any, factor: Decimal, caches: bool) -> Any:
    if isinstance(value, str):
        return format((Decimal(value) * factor).normalize(), "f")
    return [_priced(row, factor, caches=caches) for row in value] if isinstance(value, list) else value
