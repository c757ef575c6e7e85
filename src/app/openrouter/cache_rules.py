"""How each vendor caches prompts: a row per family of models. The catalogue's prices go over the rows' multipliers."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from app.openrouter.models import ModelProfile

Mechanism = Literal["marks", "breakpoints", "last_mark", "automatic", "none"]
"""- `marks`: only up to marked parts, found again by looking back from a mark (Anthropic, Alibaba).
- `breakpoints`: only at marked parts, found again only by marking the same place; the vendor marks the end by itself
  unless told not to (OpenAI since 5.6).
- `last_mark`: by itself, or up to the last mark alone (Gemini).
- `automatic`: by itself, unpaid. `none`: not at all."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long an entry lives after its last use, and what writing one token costs as a multiple of plain input."""

    ttl: str
    seconds: float
    write: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """What a planner has to know. Prices are multiples of the model's price of plain input."""

    mechanism: Mechanism
    min_tokens: int = 1_024
    """Shorter prefixes are silently not cached."""
    lifetimes: tuple[Lifetime, ...] = ()
    """Shortest first; empty where nothing is paid for writing and no mark is needed."""
    read: float = 0.1
    max_marks: int = 4
    lookback: int = 20
    """Blocks that a mark looks back over for an older entry, itself among them; 1 where only the same place matches."""
    steps: int = 1
    """Automatic caches keep whole steps of so many tokens."""
    idle_seconds: float = 300.0
    """How long an automatic cache keeps what nobody reads: the shortest time the vendor names."""

    @property
    def takes_marks(self) -> bool:
        """Whether marks pay at all: vendors that cache by themselves, unpaid, are left alone."""
        return self.mechanism in ("marks", "breakpoints")


MINUTES_5 = Lifetime("5m", 300.0, 1.25)
HOUR = Lifetime("1h", 3_600.0, 2.0)
MINUTES_30 = Lifetime("30m", 1_800.0, 1.25)


def _anthropic(min_tokens: int, read: float = 0.1) -> CacheRules:
    return CacheRules(mechanism="marks", min_tokens=min_tokens, lifetimes=(MINUTES_5, HOUR), read=read)


def _by_itself(min_tokens: int, read: float, steps: int = 1, idle_seconds: float = 300.0) -> CacheRules:
    return CacheRules(mechanism="automatic", min_tokens=min_tokens, read=read, steps=steps, idle_seconds=idle_seconds)


def _gpt(read: float) -> CacheRules:
    return CacheRules(mechanism="breakpoints", lifetimes=(MINUTES_30,), read=read, lookback=1)


NO_CACHE = CacheRules(mechanism="none", read=1.0)
SOME_HOSTS_CACHE = _by_itself(1_024, 0.5)
"""Open weights with a price for reading: which of their hosts cache, and from which length on, is not published."""

ROWS: tuple[tuple[str, CacheRules], ...] = (
    (r"anthropic/claude-(opus-5\.5|sonnet-5\.5)", _anthropic(512, read=0.05)),
    (r"anthropic/claude-(fable-5\.[12]|mythos-5\.1)", _anthropic(512, read=0.025)),
    (r"anthropic/claude-(opus-5|fable-5|mythos-5)", _anthropic(512)),
    (r"anthropic/claude-opus-4\.7", _anthropic(2_048)),
    # The minimum of Haiku 5.5 is not published: one that is surely enough.
    (r"anthropic/claude-(opus-4\.[56]|haiku-4\.5|haiku-5\.5)", _anthropic(4_096)),
    (r"anthropic/claude-3[.-].*haiku.*", _anthropic(2_048)),
    (r"anthropic/.*", _anthropic(1_024)),
    (r"openai/gpt-6\.1-.*", _gpt(0.05)),
    (r"openai/gpt-(5\.6|6)-.*", _gpt(0.1)),
    (r"openai/gpt-5(\.[0-9])?-pro", NO_CACHE),
    (r"openai/(gpt-oss|gpt-audio).*", NO_CACHE),
    (r"openai/gpt-5.*", _by_itself(1_024, 0.1, steps=128)),
    (r"openai/(gpt-4\.1.*|o3|o4-mini)", _by_itself(1_024, 0.25, steps=128)),
    (r"openai/.*", _by_itself(1_024, 0.5, steps=128)),
    (r"google/gemini-2\.5.*", CacheRules(mechanism="last_mark", min_tokens=2_048)),
    (r"google/gemma.*", NO_CACHE),
    (r"google/.*", CacheRules(mechanism="last_mark", min_tokens=4_096)),
    (r"qwen/.*", CacheRules(mechanism="marks", lifetimes=(MINUTES_5,), read=0.1)),
    (r"deepseek/.*", _by_itself(64, 0.1, steps=64, idle_seconds=3_600.0)),
    (r"x-ai/.*", _by_itself(128, 0.25, steps=128)),
    (r"moonshotai/.*", _by_itself(256, 0.25)),
    (r"z-ai/.*", _by_itself(500, 0.2)),
)


def cache_rules(model_id: str, profile: ModelProfile | None = None, *, prompt_tokens: int = 0) -> CacheRules:
    """The rules of a model: the first row that matches its whole id, variant left off, at the catalogue's prices."""
    concrete = (profile.alias_target or profile.id) if profile else model_id
    plain = concrete.removeprefix("~").partition(":")[0]
    rules = next((row for pattern, row in ROWS if re.fullmatch(pattern, plain)), NO_CACHE)
    if rules is NO_CACHE and profile and _is_read_cheaper(profile):
        rules = SOME_HOSTS_CACHE
    return _priced(rules, profile, prompt_tokens) if profile else rules


def _is_read_cheaper(profile: ModelProfile) -> bool:
    prices = profile.prices.base
    return prices.prompt is not None and (prices.input_cache_read or prices.prompt) < prices.prompt


def _priced(rules: CacheRules, profile: ModelProfile, prompt_tokens: int) -> CacheRules:
    prices = profile.prices.at(prompt_tokens)
    if not prices.prompt:
        return rules
    listed = {"5m": prices.input_cache_write, "30m": prices.input_cache_write, "1h": prices.input_cache_write_1h}
    lifetimes = tuple(
        replace(each, write=float(price / prices.prompt)) if (price := listed.get(each.ttl)) is not None else each
        for each in rules.lifetimes
    )
    read = rules.read if prices.input_cache_read is None else float(prices.input_cache_read / prices.prompt)
    return replace(rules, lifetimes=lifetimes, read=read)
