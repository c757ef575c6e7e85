"""Watches how well caching works in this process: counters to be exported, and a warning when a hit rate drops."""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import TypeVar
from uuid import UUID

import structlog

from app.domain.hit_rates import Drop, HitRate
from app.openrouter.cache_verdicts import CacheOutcome
from app.services.model_call import ChatResult

K = TypeVar("K")
V = TypeVar("V")

log = structlog.get_logger(__name__)

MOST_WATCHED = 1_000
"""Models, and presets: those that were not used for longest are forgotten."""
NOT_CACHEABLE = frozenset({CacheOutcome.BELOW_MINIMUM, CacheOutcome.DISABLED, CacheOutcome.NOT_SUPPORTED})


@dataclass(slots=True)
class CacheCounters:
    """What answers of one model did with caches since this process began; only ever growing, but the savings."""

    calls: int = 0
    prompt_tokens: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    savings_usd: Decimal = Decimal(0)
    outcomes: Counter[str] = field(default_factory=Counter)
    drops: int = 0
    """How often the hit rate of the model dropped."""


class CacheWatch:
    """Bounded in memory, and online: no history is kept."""

    def __init__(self) -> None:
        self._counters: OrderedDict[str, CacheCounters] = OrderedDict()
        self._models: OrderedDict[str, HitRate] = OrderedDict()
        self._presets: OrderedDict[UUID, HitRate] = OrderedDict()

    @property
    def counters(self) -> Mapping[str, CacheCounters]:
        """By model."""
        return MappingProxyType(self._counters)

    def observe(self, result: ChatResult, *, preset_id: UUID | None) -> None:
        """Count an answer, and warn where the hit rate of its model or preset has dropped by it."""
        verdict, usage = result.caching[-1].verdict, result.usage
        counters = _touch(self._counters, result.model, CacheCounters())
        counters.calls += 1
        counters.prompt_tokens += usage.prompt_tokens or 0
        counters.read_tokens += usage.cached_tokens or 0
        counters.written_tokens += usage.cache_write_tokens or 0
        counters.savings_usd += result.cache_discount_usd or Decimal(0)
        counters.outcomes[verdict.outcome.value if verdict else CacheOutcome.UNKNOWN.value] += 1
        if verdict is None or verdict.outcome in NOT_CACHEABLE or not usage.prompt_tokens:
            return
        read, prompt = usage.cached_tokens or 0, usage.prompt_tokens
        dropped = _touch(self._models, result.model, HitRate()).observe(read=read, prompt=prompt)
        if dropped:
            counters.drops += 1
            _warn(dropped, verdict.outcome, model=result.model)
        if preset_id is not None:
            dropped = _touch(self._presets, preset_id, HitRate()).observe(read=read, prompt=prompt)
            if dropped:
                _warn(dropped, verdict.outcome, model=result.model, preset_id=str(preset_id))


def _touch(known: OrderedDict[K, V], key: K, fresh: V) -> V:
    value = known.setdefault(key, fresh)
    known.move_to_end(key)
    if len(known) > MOST_WATCHED:
        known.popitem(last=False)
    return value


def _warn(drop: Drop, outcome: CacheOutcome, **names: str) -> None:
    rates = {"before": round(drop.before, 3), "after": round(drop.after, 3)}
    log.warning("cache.hit_rate_dropped", **names, **rates, last_outcome=outcome.value)


cache_watch = CacheWatch()
