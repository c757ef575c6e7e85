"""How each vendor caches: a row per family of models."""

import re
from dataclasses import dataclass
from enum import Enum


class Mechanism(Enum):
    NONE = "nothing is cached"
    MARKED = "only up to marked blocks"
    AUTOMATIC = "every prefix, in steps of tokens"
    BOTH = "automatically at the end, and at marked blocks"


@dataclass(frozen=True, slots=True)
class CacheRule:
    """Lifetimes are seconds; `step` and the minimum are tokens."""

    mechanism: Mechanism
    min_tokens: int
    lifetime: float = 300.0
    long_ttl: str | None = None
    """What a marker's `ttl` must say for the entry to live `long_lifetime`; elsewhere a `ttl` changes nothing."""
    long_lifetime: float = 3_600.0
    step: int = 1
    lookback: int = 0
    """Blocks before a marker among which an older entry is still found."""
    max_markers: int | None = None
    charges_writes: bool = False
    refreshed_by_reads: bool = True
    last_marker_only: bool = False
    options_matter: bool = False
    """Whether switching web search, `tool_choice`, thinking or pictures loses what was cached behind them."""
    write_adds_to_prompt: bool = False
    """The catalogue's write price is the storage alone, on top of the price of the prompt."""


def _anthropic(min_tokens: int) -> CacheRule:
    return CacheRule(
        Mechanism.MARKED,
        min_tokens,
        long_ttl="1h",
        lookback=20,
        max_markers=4,
        charges_writes=True,
        options_matter=True,
    )


def _gemini(min_tokens: int) -> CacheRule:
    return CacheRule(
        Mechanism.BOTH,
        min_tokens,
        charges_writes=True,
        refreshed_by_reads=False,
        last_marker_only=True,
        write_adds_to_prompt=True,
    )


NO_CACHE = CacheRule(Mechanism.NONE, 0)
OPENAI = CacheRule(Mechanism.AUTOMATIC, 1_024, lifetime=600, step=128)
OPENAI_EXPLICIT = CacheRule(
    Mechanism.BOTH, 1_024, lifetime=1_800, long_ttl="12h", long_lifetime=43_200, charges_writes=True
)
DEEPSEEK = CacheRule(Mechanism.AUTOMATIC, 64, lifetime=6 * 3_600, step=64)
ALIBABA = CacheRule(Mechanism.MARKED, 1_024, lookback=20, max_markers=4, charges_writes=True)
PLAIN = CacheRule(Mechanism.AUTOMATIC, 256, lifetime=600, step=64)
"""Grok, Kimi, GLM and open weights: nothing is published, so a modest step stands in."""

RULES: tuple[tuple[str, CacheRule], ...] = (
    (r"anthropic/claude-(opus-5\.5|sonnet-5\.5|fable-5.*|mythos-5.*|opus-5)", _anthropic(512)),
    (r"anthropic/claude-opus-4\.7|anthropic/claude-3[.-].*haiku.*", _anthropic(2_048)),
    (r"anthropic/claude-opus-4\.[56]|anthropic/claude-haiku-4\.5", _anthropic(4_096)),
    (r"anthropic/.*", _anthropic(1_024)),
    (r"openai/gpt-(5\.6|6|6\.1)-.*", OPENAI_EXPLICIT),
    (r"openai/gpt-5(\.[0-9])?-pro", NO_CACHE),
    (r"openai/.*", OPENAI),
    (r"google/gemma.*", NO_CACHE),
    (r"google/gemini-2\.5.*", _gemini(2_048)),
    (r"google/.*", _gemini(4_096)),
    (r"deepseek/.*", DEEPSEEK),
    (r"qwen/.*", ALIBABA),
    (r".*", PLAIN),
)


def rule_for(model_id: str) -> CacheRule:
    """The first row whose pattern matches the whole id, variant left off."""
    plain = model_id.partition(":")[0]
    return next(rule for pattern, rule in RULES if re.fullmatch(pattern, plain))
