"""Web search: which engine looks, how often, what it finds on which sites, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.tokens import count_tokens

SERVER_TOOL = "openrouter:web_search"
ENGINE_FEES = {"exa": Decimal("0.007"), "parallel": Decimal("0.005"), "perplexity": Decimal("0.005")}
EXA_MODES = {"deep": Decimal("0.012"), "reasoning": Decimal("0.015")}
EXA_INCLUDES = 10
EXA_RESULT = Decimal("0.001")
"""Each result of a search beyond those that are included."""
DEFAULT_RESULTS, DEFAULT_TOTAL = 5, 50
SITES = ("example.org", "www.example.com", "docs.example.net", "example.edu")


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked up for one answer."""

    engine: str
    searches: int
    results: int
    """Of all searches together."""
    sites: tuple[str, ...]
    passage: str
    """What each result says."""
    fee: Decimal

    @property
    def found_tokens(self) -> int:
        """What was found goes into the prompt."""
        return self.results * count_tokens(self.passage)


def searches_web(request: ChatRequest) -> dict[str, Any] | None:
    """The search's options, or None when no search was asked for."""
    for tool in request.tools or ():
        if tool.get("type") == SERVER_TOOL:
            return dict(tool.get("parameters") or {})
    for plugin in request.plugins or ():
        if plugin.get("id") == "web" and plugin.get("enabled", True):
            return {"engine": "exa", **_as_tool(plugin)}
    online = any(model_id.endswith(":online") for model_id in request.model_ids)
    return {"engine": "exa"} if online or request.web_search_options is not None else None


def search_web(request: ChatRequest, model: Model, question: str) -> Search | None:
    """A tool is used once for each question mark, as far as it may be; the old ways search once."""
    options = searches_web(request)
    if options is None:
        return None
    native = model.prices.price("web_search")
    engine = str(options.get("engine") or "auto")
    if engine in ("auto", "native"):
        engine = "exa" if native is None else "native"
    is_tool = any(tool.get("type") == SERVER_TOOL for tool in request.tools or ())
    searches = min(max(1, question.count("?")), options.get("max_uses") or 30) if is_tool else 1
    each = options.get("max_results") or DEFAULT_RESULTS
    sites = _sites(options.get("allowed_domains") or (), options.get("excluded_domains") or ())
    one = native if engine == "native" and native is not None else _engine_fee(engine, options, each)
    return Search(
        engine=engine,
        searches=searches,
        results=min(each * searches, options.get("max_total_results") or DEFAULT_TOTAL) if sites else 0,
        sites=sites,
        passage=f"A simulated passage about: {question[:80]}",
        fee=searches * one,
    )


def _engine_fee(engine: str, options: dict[str, Any], results: int) -> Decimal:
    fee = ENGINE_FEES.get(engine, ENGINE_FEES["exa"])
    if engine != "exa":
        return fee
    return EXA_MODES.get(str(options.get("mode")), fee) + max(0, results - EXA_INCLUDES) * EXA_RESULT


def _sites(allowed: Sequence[str], excluded: Sequence[str]) -> tuple[str, ...]:
    """All are examples, or were named by the caller."""
    if allowed:
        return tuple(allowed)
    return tuple(site for site in SITES if not any(site == one or site.endswith(f".{one}") for one in excluded))


def _as_tool(plugin: dict[str, Any]) -> dict[str, Any]:
    names = {"include_domains": "allowed_domains", "exclude_domains": "excluded_domains"}
    return {names.get(name, name): value for name, value in plugin.items()}
