"""Searching the web by OpenRouter's server tool: how it is asked for, and what a search costs by the price list."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from app.openrouter.pricing import Prices
from app.openrouter.tokens import estimate_tokens

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
