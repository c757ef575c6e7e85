"""Web search: what was found, where it is cited in the text, and what searching costs."""

from decimal import Decimal
from typing import Any

from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.chat.request import ChatRequest

ENGINE_FEES = {"exa": Decimal("0.007"), "parallel": Decimal("0.005"), "perplexity": Decimal("0.005")}
DEFAULT_RESULTS = 5


def searches_web(request: ChatRequest) -> dict[str, Any] | None:
    """The search's options, or None when no search was asked for."""
    for tool in request.tools or ():
        if tool.get("type") == "openrouter:web_search":
            return dict(tool.get("parameters") or {})
    for plugin in request.plugins or ():
        if plugin.get("id") == "web" and plugin.get("enabled", True):
            return {"engine": "exa", **plugin}
    online = any(model_id.endswith(":online") for model_id in request.model_ids)
    return {"engine": "exa"} if online or request.web_search_options is not None else None


def search_fee(options: dict[str, Any], model: Model) -> Decimal:
    """One search: the model's own price where it searches itself, else the engine's."""
    native = model.prices.price("web_search")
    engine = options.get("engine", "auto")
    if engine in ("auto", "native") and native is not None:
        return native
    return ENGINE_FEES.get(str(engine), ENGINE_FEES["exa"])


def cite(text: str, question: str, options: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Citations with offsets into the text, one per result; all sites are examples."""
    wanted = options.get("max_results")
    count = min(wanted if isinstance(wanted, int) else DEFAULT_RESULTS, 3)
    lines = [line for line in text.split("\n") if line][:count]
    return tuple(_citation(text, line, question, number) for number, line in enumerate(lines, start=1))


def _citation(text: str, line: str, question: str, number: int) -> dict[str, Any]:
    start = text.index(line)
    return {
        "type": "url_citation",
        "url_citation": {
            "url": f"https://example.org/simulated/{number}",
            "title": f"Simulated source {number}",
            "content": f"A simulated passage about: {question[:80]}",
            "start_index": start,
            "end_index": start + len(line),
        },
    }
