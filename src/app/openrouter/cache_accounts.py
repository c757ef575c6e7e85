"""What caching saved or cost in one call: by the price list, proved by the bill where it can be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.pricing import (
    PriceList,
    cache_discount,
    estimate_cost,
    long_written_by_bill,
    written_by_bill,
)
from app.openrouter.types import Usage

LONG_LIFETIMES = frozenset({"1h", "12h"})
"""Marks whose writes have a price of their own."""


@dataclass(frozen=True, slots=True)
class CacheAccount:
    """`discount_usd` is signed: a write that was not read yet is a loss. None: unknown.

    `is_settled`: the price list explains the bill to the last digit, so the discount is exact. Else the host has prices
    of its own, or other services are in the bill, and the billing record knows better.
    """

    discount_usd: Decimal | None = None
    is_settled: bool = True


def account_for(
    usage: Usage | None, prices: PriceList | None, blocks: PromptBlocks, points: Sequence[Breakpoint]
) -> CacheAccount:
    """The account of one call that used `usage` for a prompt of these blocks, marked at these points."""
    if usage is None or prices is None or (usage.cached_tokens is None and usage.cache_write_tokens is None):
        return CacheAccount()
    charged = usage.upstream_inference_cost if usage.is_byok else _for_tokens(usage)
    if charged == 0:
        return CacheAccount(Decimal(0))  # where nothing is paid nothing is saved
    writes_are_told = usage.cache_write_tokens is not None or not points
    if not usage.cached_tokens and not usage.cache_write_tokens and writes_are_told:
        return CacheAccount(Decimal(0))
    long = long_written_tokens(usage, prices, blocks, points)
    return CacheAccount(
        cache_discount(prices, usage, long_written=long), charged == estimate_cost(prices, usage, long_written=long)
    )


def _for_tokens(usage: Usage) -> Decimal | None:
    """What was charged for tokens alone."""
    return None if usage.cost is None else usage.cost - (usage.search_cost or Decimal(0))


def account_for_record(
    usage: Usage, told: Decimal | None, prices: PriceList | None, lifetimes: Iterable[str]
) -> tuple[Usage, Decimal | None]:
    """Usage and discount of a billing record, which counts no writes: those the bill has in it are put in.

    `told` is the record's own discount, and counts before anything reckoned. `lifetimes` are those of the prompt's
    marks. Unknown stays None.
    """
    if _for_tokens(usage) == 0 and not usage.is_byok:
        return usage, Decimal(0) if told is None else told  # where nothing is paid nothing is saved
    if prices is None or usage.is_byok:
        return usage, told
    classes = {each in LONG_LIFETIMES for each in lifetimes} or {False}
    if len(classes) > 1:  # two unknown numbers, and one bill
        return usage, told
    is_long = classes.pop()
    written = written_by_bill(prices, usage, long=is_long)
    if written is None:
        return usage, told
    usage = replace(usage, cache_write_tokens=written)
    return usage, cache_discount(prices, usage, long_written=written if is_long else 0) if told is None else told


def long_written_tokens(usage: Usage, prices: PriceList, blocks: PromptBlocks, points: Sequence[Breakpoint]) -> int:
    """How many of the written tokens are kept for an hour: those between what was read and the last long mark."""
    written = usage.cache_write_tokens or 0
    long = [point for point in points if point.ttl in LONG_LIFETIMES]
    if not written or not long:
        return 0
    if long[-1] == points[-1]:
        return written
    billed = long_written_by_bill(prices, usage)
    if billed is not None:
        return billed
    # The estimate of our own tokens, in proportion to the prompt as it was counted.
    until_long = (usage.prompt_tokens or 0) * blocks.ends[long[-1].block] // max(1, blocks.ends[-1])
    return min(written, max(0, until_long - (usage.cached_tokens or 0)))
