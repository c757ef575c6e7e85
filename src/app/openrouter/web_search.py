"""Searching the web by OpenRouter's server tool: how it is asked for, and what a search costs by the price list."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from app.openrouter.generations import GenerationRecord
from app.openrouter.pricing import PriceList, Prices
from app.openrouter.tokens import estimate_tokens
from app.openrouter.types import Usage

SERVER_TOOL = "openrouter:web_search"

Engine = Literal["auto", "native", "exa", "parallel"]
"""`auto`: the model's own search where it has one, else Exa. The last two search for any model that can use tools."""

EXA, PARALLEL = Decimal("0.007"), Decimal("0.005")
EXA_INCLUDES = 10
EXA_RESULT = Decimal("0.001")
"""Each result of a search beyond those that are included."""

RESULT_TOKENS = 400
"""What one result adds to the prompt, guessed on the high side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearch:
    """A search that a model may make. The domains are in order, each once, and only one of the lists has any."""

    engine: Engine = "auto"
    max_results: int = 5
    """Of one search."""
    max_searches: int = 3
    context_size: str | None = None
    allowed_domains: tuple[str, ...] = ()
    excluded_domains: tuple[str, ...] = ()

    @property
    def asked_engine(self) -> Engine:
        """Models' own searches heed domains or not, each in its way: where domains count, an engine that does looks."""
        has_domains = bool(self.allowed_domains or self.excluded_domains)
        return "exa" if has_domains and self.engine in ("auto", "native") else self.engine

    @property
    def tokens(self) -> int:
        """What the tool itself takes of the prompt."""
        return estimate_tokens(str(self.wire()))

    @property
    def found_tokens(self) -> int:
        """The most that what is found may add to the prompt, guessed on the high side."""
        return self.max_searches * self.max_results * RESULT_TOKENS

    def wire(self) -> dict[str, Any]:
        """The tool; the same search gives the same text, whatever the order in which its domains were named."""
        parameters: dict[str, Any] = {
            "engine": self.asked_engine,
            "max_results": self.max_results,
            "max_uses": self.max_searches,
        }
        if self.context_size is not None:
            parameters["search_context_size"] = self.context_size
        if self.allowed_domains:
            parameters["allowed_domains"] = list(self.allowed_domains)
        if self.excluded_domains:
            parameters["excluded_domains"] = list(self.excluded_domains)
        return {"type": SERVER_TOOL, "parameters": parameters}

    def price(self, prices: Prices) -> Decimal:
        """USD for one search with a model of these prices."""
        if self.asked_engine in ("auto", "native") and prices.web_search is not None:
            return prices.web_search
        if self.asked_engine == "parallel":
            return PARALLEL
        return EXA + max(0, self.max_results - EXA_INCLUDES) * EXA_RESULT


def is_server_tool(tool: Mapping[str, Any]) -> bool:
    """Whether OpenRouter runs the tool itself. On such a tool it reads no mark."""
    return str(tool.get("type", "")).startswith("openrouter:")


def with_search_cost(usage: Usage, prices: Prices, search: WebSearch | None) -> Usage:
    """The usage with what its searches cost: as it was told, else by the price list; never more than was billed."""
    if usage.cost is None or not (usage.searches or usage.search_cost):
        return replace(usage, search_cost=None)
    cost = usage.search_cost
    if cost is None:
        cost = (usage.searches or 0) * (search or WebSearch()).price(prices)
    return replace(usage, searches=usage.searches or 1, search_cost=min(cost, usage.cost))


def searched_by_record(record: GenerationRecord, prices: PriceList, explains: Callable[[Usage], bool]) -> Usage:
    """The usage of a billing record, which names who searched but not how often: as often as explains its bill.

    `explains`: whether a bill with so much of it for searches adds up. Where none does, it is taken for one search.
    """
    usage, engine = record.usage, record.search_engine
    if engine is None or usage.cost is None:
        return usage
    guesses = [_guess(usage, record.search_results or 0, engine, prices.base, number) for number in range(1, 11)]
    return next((each for each in guesses if explains(each)), guesses[0])


def _guess(usage: Usage, results: int, engine: str, prices: Prices, searches: int) -> Usage:
    asked: Engine = "parallel" if engine == "parallel" else "exa" if engine == "exa" else "native"
    one = WebSearch(engine=asked, max_results=results // searches).price(prices)
    return replace(usage, searches=searches, search_cost=min(searches * one, usage.cost or Decimal(0)))
