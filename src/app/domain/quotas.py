"""What a month allows, what is used, what is held by running turns; what a turn may hold, and the refusal in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum

MIN_ANSWER_TOKENS = 16
"""An answer with less room than this is not worth asking for."""


class Meter(StrEnum):
    """What is counted against a plan."""

    MESSAGES = "messages"
    TOKENS = "tokens"
    IMAGES = "images"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Allowance:
    """One meter of one period: ``used`` is settled, ``reserved`` is held by running turns. Cost is USD."""

    meter: Meter
    limit: Decimal
    used: Decimal
    reserved: Decimal = Decimal(0)

    @property
    def remaining(self) -> Decimal:
        """What is left after what is used; running turns are not deducted, never below zero."""
        return max(Decimal(0), self.limit - self.used)

    @property
    def free(self) -> Decimal:
        """What may still be reserved now; below zero when a bill came out higher than was held."""
        return self.limit - self.used - self.reserved

    @property
    def refusal(self) -> str:
        """The sentence people read when the allowance is spent, e.g. ``Monthly message limit reached (100)``."""
        if self.meter is Meter.COST:
            return f"Monthly cost limit reached (${self.limit:.2f})"
        return f"Monthly {self.meter.value.removesuffix('s')} limit reached ({self.limit:f})"


@dataclass(frozen=True, slots=True)
class Balance:
    """All meters of one account in one period."""

    messages: Allowance
    tokens: Allowance
    images: Allowance
    cost: Allowance

    def __iter__(self) -> Iterator[Allowance]:
        return iter((self.messages, self.tokens, self.images, self.cost))


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much of each meter; tokens are prompt plus completion, cost is USD."""

    messages: int = 0
    tokens: int = 0
    images: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """The most that one token may cost with any model of a turn's route, in USD."""

    prompt: Decimal
    completion: Decimal


@dataclass(frozen=True, slots=True)
class TurnAsk:
    """What a turn would like to hold. Without ``prices`` (unknown) it holds all the money that is left.

    ``messages`` is 0 for what the plan does not count as one, such as a title; ``fees_usd`` is the most that services
    beside the model, such as searches, may cost.
    """

    prompt_tokens: int
    max_tokens: int
    prices: TokenPrices | None
    messages: int = 1
    fees_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAsk:
    """What pictures would like to hold: all of it or nothing. Without ``cost_usd`` (unknown) all the money left.

    Where several are asked for at once, ``shares`` are those that are still to come, this one among them: it holds one
    of so many equal parts of the money then.
    """

    images: int
    tokens: int
    cost_usd: Decimal | None
    shares: int = 1


@dataclass(frozen=True, slots=True)
class TurnGrant:
    """What a turn holds; ``max_tokens`` is the longest answer it may ask for, cut to what is left."""

    amounts: Amounts
    max_tokens: int


def grant_turn(ask: TurnAsk, balance: Balance) -> TurnGrant | Allowance:
    """What ``ask`` gets out of ``balance``, or the allowance that is spent.

    Somebody with little left can still ask something short: the answer's length is cut before the turn is refused.
    """
    if balance.messages.free < ask.messages:
        return balance.messages
    least = min(MIN_ANSWER_TOKENS, ask.max_tokens)
    by_tokens = int(balance.tokens.free) - ask.prompt_tokens
    if by_tokens < least:
        return balance.tokens
    by_cost = _affordable_tokens(ask, balance.cost.free)
    if by_cost < least:
        return balance.cost
    max_tokens = min(ask.max_tokens, by_tokens, by_cost)
    amounts = Amounts(
        messages=ask.messages,
        tokens=ask.prompt_tokens + max_tokens,
        cost_usd=_cost(ask, max_tokens, balance.cost.free),
    )
    return TurnGrant(amounts, max_tokens)


def grant_images(ask: ImageAsk, balance: Balance) -> TurnGrant | Allowance:
    """What ``ask`` gets out of ``balance``, or the allowance that is spent: a picture cannot be cut to what is left."""
    if balance.images.free < ask.images:
        return balance.images
    if balance.tokens.free < ask.tokens:
        return balance.tokens
    money = balance.cost.free
    if money <= 0 or (ask.cost_usd is not None and money < ask.cost_usd):
        return balance.cost
    cost = money / ask.shares if ask.cost_usd is None else ask.cost_usd
    return TurnGrant(Amounts(tokens=ask.tokens, images=ask.images, cost_usd=cost), ask.tokens)


def _affordable_tokens(ask: TurnAsk, money: Decimal) -> int:
    if ask.prices is None:
        return ask.max_tokens if money > 0 else 0
    left = money - ask.fees_usd - ask.prompt_tokens * ask.prices.prompt
    if left < 0 or ask.prices.completion <= 0:
        return 0 if left < 0 else ask.max_tokens
    return int(min(left / ask.prices.completion, Decimal(ask.max_tokens)).to_integral_value(ROUND_FLOOR))


def _cost(ask: TurnAsk, max_tokens: int, money: Decimal) -> Decimal:
    if ask.prices is None:
        return money
    return ask.fees_usd + ask.prompt_tokens * ask.prices.prompt + max_tokens * ask.prices.completion
