"""Why a call found its prompt in the provider's cache, or did not: decided from two calls and the model's rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_features import head_of
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_prints import CachedCall, common_part
from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_warmth import life_of_common

NEARLY = 0.9
"""A call that reads this part of what the one before left has found it: what is new lies behind it."""
DETAIL_CHARS = 100
SEARCH_SWITCHED = "web search"
"""The tool that searches stands before everything else: with or without it a prompt is another from its beginning."""


class CacheOutcome(StrEnum):
    """What became of one call's prompt at the provider's cache."""

    HIT = "hit"
    BELOW_MINIMUM = "below_minimum"
    """Shorter than anything the model, or the operator, lets be cached."""
    FIRST_REQUEST = "first_request"
    """Nothing of this conversation had been put into a cache before."""
    PREFIX_CHANGED = "prefix_changed"
    """The prompt differs from the earlier one before the end of anything that was kept."""
    TTL_EXPIRED = "ttl_expired"
    PROVIDER_SWITCHED = "provider_switched"
    MODEL_SWITCHED = "model_switched"
    NOT_SUPPORTED = "not_supported"
    DISABLED = "disabled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCall:
    """The call in question. `floor` is the operator's own minimum of tokens; `system_only`: nothing else is marked."""

    model: str
    provider: str | None
    asked_at: float
    blocks: PromptBlocks
    points: Sequence[Breakpoint]
    is_enabled: bool
    prompt_tokens: int | None
    cached_tokens: int | None
    floor: int = 0
    system_only: bool = False


@dataclass(frozen=True, slots=True)
class CacheVerdict:
    """`detail` names what the outcome is about: the changed block, the model or provider before, minutes, tokens.

    A hit has one where less was found than the call before had left: then it begins with the reason.
    """

    outcome: CacheOutcome
    detail: str | None = None


def judge(call: JudgedCall, earlier: Sequence[CachedCall], rules: CacheRules) -> CacheVerdict:
    """Why `call` went as it did. `earlier` are calls of the conversation, newest first, under any model."""
    before = next((each for each in earlier if each.model == call.model), None)
    if call.cached_tokens:
        return _hit(call, before, rules)
    if not call.is_enabled:
        return CacheVerdict(CacheOutcome.DISABLED)
    if rules.mechanism == "none":
        return CacheVerdict(CacheOutcome.NOT_SUPPORTED, _cut(call.model))
    if call.cached_tokens is None or call.prompt_tokens is None:
        return CacheVerdict(CacheOutcome.UNKNOWN)
    minimum = max(rules.min_tokens, call.floor) if rules.takes_marks else rules.min_tokens
    tokens = _cacheable_tokens(call)
    if tokens < minimum:
        return CacheVerdict(CacheOutcome.BELOW_MINIMUM, f"{tokens} of {minimum} tokens")
    if not earlier:
        return CacheVerdict(CacheOutcome.FIRST_REQUEST)
    if before is None:
        return CacheVerdict(CacheOutcome.MODEL_SWITCHED, _cut(earlier[0].model))
    return _lost(call, before, rules)


def _hit(call: JudgedCall, before: CachedCall | None, rules: CacheRules) -> CacheVerdict:
    left = before.tokens if before else None
    if before is None or left is None or (call.cached_tokens or 0) >= NEARLY * left:
        return CacheVerdict(CacheOutcome.HIT)
    lost = _lost(call, before, rules)
    return CacheVerdict(CacheOutcome.HIT, _cut(f"{lost.outcome.value}: {lost.detail}" if lost.detail else lost.outcome))


def _lost(call: JudgedCall, before: CachedCall, rules: CacheRules) -> CacheVerdict:
    """What became of what the earlier call had left."""
    common = common_part(before.printed, call.blocks)
    life = life_of_common(common, before.printed, call.blocks, rules, scale=_scale(call))
    if life is None and before.searched != ("search" in call.blocks.kinds):
        return CacheVerdict(CacheOutcome.PREFIX_CHANGED, SEARCH_SWITCHED)
    if life is None:
        return CacheVerdict(CacheOutcome.PREFIX_CHANGED, _named(call.blocks, common.changed))
    age = call.asked_at - before.began_at
    if age >= life:
        return CacheVerdict(CacheOutcome.TTL_EXPIRED, f"after {age / 60:.0f} min")
    if call.provider and before.provider and call.provider != before.provider:
        return CacheVerdict(CacheOutcome.PROVIDER_SWITCHED, _cut(before.provider))
    return CacheVerdict(CacheOutcome.UNKNOWN)


def _cacheable_tokens(call: JudgedCall) -> int:
    """How much of the prompt might have been cached: up to the last mark, else all that may be marked."""
    ends = call.blocks.ends
    if call.points:
        return _counted(call, ends[call.points[-1].block])
    may_be = head_of(call.blocks) if call.system_only else len(ends)
    return _counted(call, ends[may_be - 1]) if may_be else 0


def _counted(call: JudgedCall, estimate: int) -> int:
    """Tokens as the model counts them, in proportion to our estimate of the whole prompt."""
    return int(estimate * _scale(call))


def _scale(call: JudgedCall) -> Fraction:
    return Fraction(call.prompt_tokens or 0, max(1, call.blocks.ends[-1]))


def _named(blocks: PromptBlocks, changed: int | None) -> str:
    """The block in words: messages are counted from 1, the system prompt among them."""
    if changed is None:
        return "shortened"
    (message, part), role = blocks.places[changed], blocks.roles[changed]
    if role == "search":
        return SEARCH_SWITCHED
    if message < 0:
        return f"tool {part + 1}"
    return "system" if role in ("system", "developer") else f"message {message + 1}"


def _cut(text: str) -> str:
    return text[:DETAIL_CHARS]
