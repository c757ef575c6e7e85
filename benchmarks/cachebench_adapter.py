"""The product's planner for the judge of caching strategies: `benchmarks.cachebench_adapter:Planner`.

It hands the judge's facts to the planner and its marks back; it decides nothing by itself. Kinds and token counts are
the judge's, in place of our own estimates.
"""

from typing import Any

from app.openrouter.catalog import shipped_catalog
from app.openrouter.prompt_cache import CachePlanner, CacheUsage


class Planner:
    """One run of the judge; the floor of `CACHE_MIN_TOKENS` is not applied, only the models' own minimums."""

    def __init__(self) -> None:
        self._planner = CachePlanner()
        self._ticket: Any = None

    def __call__(self, messages: Any, model: str, hints: dict[str, Any]) -> dict[str, Any]:
        plan = self._planner.plan(
            messages,
            model,
            profile=shipped_catalog().get(model),
            tools=hints["tools"],
            kinds=hints["kinds"],
            tokens=hints["tokens"],
            tools_tokens=hints["tools_tokens"],
            conversation=hints["conversation_id"],
            user=hints["user_id"],
            now=hints["now"],
        )
        self._ticket = plan.ticket
        body: dict[str, Any] = {"messages": plan.messages, "tools": plan.tools}
        if plan.prompt_cache_options:
            body["prompt_cache_options"] = plan.prompt_cache_options
        return body

    def observe(self, hints: dict[str, Any], usage: dict[str, Any]) -> None:
        details = usage["prompt_tokens_details"]
        self._planner.observe(
            self._ticket,
            CacheUsage(
                prompt_tokens=usage["prompt_tokens"],
                cached_tokens=details["cached_tokens"],
                cache_write_tokens=details["cache_write_tokens"],
            ),
        )
