"""What a completion should have cost, by the price list. Only an estimate: what OpenRouter billed is `usage.cost`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from app.openrouter.reading import as_count, as_decimal, as_map, as_maps
from app.openrouter.types import Usage

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD for one token, or for one request or picture where named. None: not listed. Discounts are already in them."""

    prompt: Decimal | None = None
    completion: Decimal | None = None
    request: Decimal | None = None
    image: Decimal | None = None
    image_token: Decimal | None = None
    image_output: Decimal | None = None
    """One image token of the output; without it such a token costs what text does."""
    audio: Decimal | None = None
    audio_output: Decimal | None = None
    input_audio_cache: Decimal | None = None
    web_search: Decimal | None = None
    internal_reasoning: Decimal | None = None
    input_cache_read: Decimal | None = None
    input_cache_write: Decimal | None = None
    input_cache_write_1h: Decimal | None = None

    @property
    def are_known(self) -> bool:
        """A router's prices are those of the model it will choose: unknown."""
        return self.prompt is not None and self.completion is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOverride:
    """Prices that hold for the whole request when its prompt has more than `above_prompt_tokens` tokens."""

    above_prompt_tokens: int
    prices: Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """A model's prices, and how they change with the size of the prompt."""

    base: Prices = Prices()
    overrides: tuple[PriceOverride, ...] = ()

    def at(self, prompt_tokens: int) -> Prices:
        """The prices for a prompt of this size; where several overrides hold, the later wins price by price."""
        prices = self.base
        for override in self.overrides:
            if prompt_tokens > override.above_prompt_tokens:
                prices = replace(prices, **_listed(override.prices))
        return prices


def read_prices(pricing: Any) -> PriceList:
    """The `pricing` object of a model. Overrides by time of day are left out: an estimate takes the plain price."""
    overrides = (
        PriceOverride(above_prompt_tokens=above, prices=_read(row))
        for row in as_maps(as_map(pricing).get("overrides"))
        if (above := as_count(row.get("min_prompt_tokens"))) is not None and "utc_start" not in row
    )
    return PriceList(base=_read(as_map(pricing)), overrides=tuple(overrides))


def estimate_cost(prices: PriceList, usage: Usage, *, long_written: int = 0) -> Decimal | None:
    """USD for `usage`; None when prices or token counts are unknown.

    Cached and written tokens are parts of `prompt_tokens`, image tokens of `completion_tokens`. `long_written`: how
    many of the written ones are kept for an hour. Searches, parsed files and server tools are not in it.
    """
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    rates = prices.at(usage.prompt_tokens)
    if rates.prompt is None or rates.completion is None:
        return None
    cached, written, drawn = usage.cached_tokens or 0, usage.cache_write_tokens or 0, usage.image_tokens or 0
    fresh = max(0, usage.prompt_tokens - cached - written)
    said = max(0, usage.completion_tokens - drawn)
    return (
        fresh * rates.prompt
        + cached * _read_price(rates, rates.prompt)
        + _write_cost(rates, rates.prompt, written, long_written)
        + said * rates.completion
        + drawn * (rates.completion if rates.image_output is None else rates.image_output)
        + (rates.request or ZERO)
    )


def highest_cost(prices: PriceList, *, prompt_tokens: int, max_tokens: int) -> Decimal | None:
    """The most that a request can cost: the whole prompt written to the cache for an hour, all of `max_tokens` used."""
    rates = prices.at(prompt_tokens)
    if rates.prompt is None or rates.completion is None:
        return None
    per_prompt_token = max(rates.prompt, *(_write_price(rates, rates.prompt, long) for long in (False, True)))
    per_answer_token = max(rates.completion, rates.image_output or ZERO)
    return prompt_tokens * per_prompt_token + max_tokens * per_answer_token + (rates.request or ZERO)


def cache_discount(prices: PriceList, usage: Usage, *, long_written: int = 0) -> Decimal | None:
    """USD that caching saved; below zero when writing cost more than reading saved. None when nothing is known.

    `long_written`: how many of the written tokens are kept for an hour.
    """
    rates = prices.at(usage.prompt_tokens or 0)
    if rates.prompt is None or (usage.cached_tokens is None and usage.cache_write_tokens is None):
        return None
    written = usage.cache_write_tokens or 0
    saved = (usage.cached_tokens or 0) * (rates.prompt - _read_price(rates, rates.prompt))
    return saved - (_write_cost(rates, rates.prompt, written, long_written) - written * rates.prompt)


def long_written_by_bill(prices: PriceList, usage: Usage) -> int | None:
    """How many of the written tokens were billed as kept for an hour; None where the bill does not add up so."""
    rates = prices.at(usage.prompt_tokens or 0)
    if rates.prompt is None:
        return None
    dearer = _write_price(rates, rates.prompt, True) - _write_price(rates, rates.prompt, False)
    return _whole_tokens(_unexplained(prices, usage), dearer, most=usage.cache_write_tokens or 0)


def written_by_bill(prices: PriceList, usage: Usage, *, long: bool) -> int | None:
    """How many tokens were written to a cache where only reads were counted, as in billing records: what the bill has
    beyond the plain price. `long`: kept for an hour. None where the bill does not add up so.
    """
    rates = prices.at(usage.prompt_tokens or 0)
    if rates.prompt is None or usage.prompt_tokens is None:
        return None
    uncounted = replace(usage, cache_write_tokens=None)
    dearer = _write_price(rates, rates.prompt, long) - rates.prompt
    return _whole_tokens(_unexplained(prices, uncounted), dearer, most=usage.prompt_tokens - (usage.cached_tokens or 0))


def _unexplained(prices: PriceList, usage: Usage) -> Decimal | None:
    """What was billed beyond the estimate, and is not for searches."""
    estimate = estimate_cost(prices, usage)
    return None if estimate is None or usage.cost is None else usage.cost - (usage.search_cost or ZERO) - estimate


def _whole_tokens(missing: Decimal | None, per_token: Decimal, *, most: int) -> int | None:
    if missing is None or missing == 0:
        return None if missing is None else 0
    tokens = missing / per_token if per_token else None
    return int(tokens) if tokens is not None and tokens == int(tokens) and 0 < tokens <= most else None


def _read_price(rates: Prices, prompt: Decimal) -> Decimal:
    return prompt if rates.input_cache_read is None else rates.input_cache_read


def _write_cost(rates: Prices, prompt: Decimal, written: int, long_written: int) -> Decimal:
    long = min(long_written, written)
    return long * _write_price(rates, prompt, True) + (written - long) * _write_price(rates, prompt, False)


def _write_price(rates: Prices, prompt: Decimal, long_writes: bool) -> Decimal:
    listed = rates.input_cache_write_1h if long_writes else None
    listed = rates.input_cache_write if listed is None else listed
    if listed is None:
        return prompt
    # A write below the price of plain input is the storage alone, as Gemini lists it: the input comes on top.
    return listed if listed >= prompt else prompt + listed


def _read(row: Mapping[str, Any]) -> Prices:
    values = {field.name: as_decimal(row.get(field.name)) for field in fields(Prices)}
    # "-1" stands for a price that a router decides.
    return Prices(**{name: value for name, value in values.items() if value is not None and value >= 0})


def _listed(prices: Prices) -> dict[str, Decimal]:
    values = ((field.name, getattr(prices, field.name)) for field in fields(prices))
    return {name: value for name, value in values if value is not None}
