"""What a request costs: the catalogue's prices, with overrides for long prompts, applied to token counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

ZERO = Decimal(0)
_ROUTED = Decimal(-1)
_BILLED_DECIMALS = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """`prompt` includes `audio`, `cached`, `written` and `written_1h`; `completion` includes `image`, `reasoning`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    reasoning: int = 0
    image: int = 0
    audio: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """USD, unrounded; `services` are searches, document parsing and the fee per request."""

    prompt: Decimal = ZERO
    completion: Decimal = ZERO
    services: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return self.prompt + self.completion + self.services


def rounded(amount: Decimal) -> Decimal:
    """The amount as billed: twelve decimals, no trailing zeros."""
    return amount.quantize(_BILLED_DECIMALS).normalize() if amount else ZERO


@dataclass(frozen=True, slots=True)
class PriceList:
    """USD per token (or per request, per search) by name; a missing cache price means the prompt price."""

    prices: Mapping[str, Decimal]
    overrides: tuple[tuple[int, Mapping[str, Decimal]], ...] = ()

    @classmethod
    def parse(cls, pricing: Mapping[str, Any]) -> "PriceList":
        """Read the catalogue's `pricing` object; windows by the hour of the day are not modelled."""
        overrides = tuple(
            (row["min_prompt_tokens"], _amounts(row))
            for row in pricing.get("overrides", ())
            if "min_prompt_tokens" in row
        )
        return cls(_amounts(pricing), overrides)

    @property
    def is_free(self) -> bool:
        return not any(self.prices.values())

    @property
    def is_routed(self) -> bool:
        """A router's price is that of the model it picks."""
        return self.prices.get("prompt") == _ROUTED

    def price(self, name: str, prompt_tokens: int = 0) -> Decimal | None:
        """The price in force for a prompt of that size; the last override that matches wins."""
        found = self.prices.get(name)
        for threshold, changed in self.overrides:
            if prompt_tokens > threshold:
                found = changed.get(name, found)
        return found

    def cost(self, tokens: TokenCounts, *, services: Decimal = ZERO, writes_are_storage: bool = False) -> Cost:
        """An override applies to the whole request, output included.

        `writes_are_storage`: a written token costs the prompt price as well, its write price being storage alone.
        """

        def price(*names: str) -> Decimal:
            listed = (self.price(name, tokens.prompt) for name in names)
            return next((one for one in listed if one is not None), ZERO)

        plain = tokens.prompt - tokens.cached
        if not writes_are_storage:
            plain -= tokens.written + tokens.written_1h
        heard = min(tokens.audio, plain)
        return Cost(
            prompt=(plain - heard) * price("prompt")
            + heard * price("audio", "prompt")
            + tokens.cached * price("input_cache_read", "prompt")
            + tokens.written * price("input_cache_write", "prompt")
            + tokens.written_1h * price("input_cache_write_1h", "input_cache_write", "prompt"),
            completion=(tokens.completion - tokens.image) * price("completion")
            + tokens.image * price("image_output", "completion"),
            services=services + (self.price("request") or ZERO),
        )


def _amounts(row: Mapping[str, Any]) -> dict[str, Decimal]:
    """The entries that are prices: decimal strings."""
    return {name: Decimal(value) for name, value in row.items() if isinstance(value, str) and _is_decimal(value)}


def _is_decimal(value: str) -> bool:
    return value.lstrip("-").replace(".", "", 1).isdigit()
