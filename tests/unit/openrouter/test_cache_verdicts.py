"""Each way a prompt can be missed has its own reason."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from app.openrouter.cache_blocks import BlockReader, PromptBlocks
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_prints import CachedCall, print_of
from app.openrouter.cache_rules import cache_rules
from app.openrouter.cache_verdicts import CacheOutcome, CacheVerdict, JudgedCall, judge

SONNET, GPT, MINI, GEMINI = (
    "anthropic/claude-sonnet-5.5",
    "openai/gpt-5.6-luna",
    "openai/gpt-4o-mini",
    "google/gemini-2.5-flash",
)
LONG = "patience " * 2_000


def read(*texts: str, system: str = LONG) -> PromptBlocks:
    roles = ("user", "assistant")
    said = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
    return BlockReader().read([{"role": "system", "content": system}, *said])


FIRST, SECOND = read("a"), read("a", "b", "c")


def earlier(model: str = SONNET, blocks: PromptBlocks = FIRST, ttl: str = "5m", **changes: Any) -> CachedCall:
    """A call that marked its end at second 1,000."""
    points = [Breakpoint(len(blocks) - 1, ttl)] if cache_rules(model).takes_marks else []
    call = CachedCall(
        model=model, provider="Anthropic", began_at=1_000.0, tokens=blocks.ends[-1], printed=print_of(blocks, points)
    )
    return structs.replace(call, **changes)


def call(model: str = SONNET, blocks: PromptBlocks = SECOND, *, after: float = 60, **changes: Any) -> JudgedCall:
    """The next call, which read nothing."""
    judged = JudgedCall(
        model=model,
        provider="Anthropic",
        asked_at=1_000.0 + after,
        blocks=blocks,
        points=[Breakpoint(len(blocks) - 1, "5m")] if cache_rules(model).takes_marks else [],
        is_enabled=True,
        prompt_tokens=blocks.ends[-1],
        cached_tokens=0,
    )
    return replace(judged, **changes)


def verdict(judged: JudgedCall, *before: CachedCall) -> CacheVerdict:
    return judge(judged, before, cache_rules(judged.model))


def outcome(judged: JudgedCall, *before: CachedCall) -> str:
    return verdict(judged, *before).outcome.value


def test_what_was_read_is_a_hit() -> None:
    assert verdict(call(cached_tokens=FIRST.ends[-1]), earlier()) == CacheVerdict(CacheOutcome.HIT)


def test_a_hit_that_found_less_than_was_left_says_why() -> None:
    changed = read("x", "b", "c")
    found = verdict(call(blocks=changed, cached_tokens=600), earlier())
    assert found == CacheVerdict(CacheOutcome.HIT, "prefix_changed: message 2")
    assert verdict(call(cached_tokens=600, after=400), earlier()).detail == "ttl_expired: after 7 min"
    assert verdict(call(cached_tokens=600)).detail is None


def test_the_first_call_has_nothing_to_find() -> None:
    assert outcome(call()) == "first_request"


def test_a_short_prompt_is_below_the_minimum() -> None:
    short = read("a", system="short")
    found = verdict(call(blocks=short), earlier())
    assert found == CacheVerdict(CacheOutcome.BELOW_MINIMUM, f"{short.ends[-1]} of 512 tokens")
    assert outcome(call(floor=100_000)) == "below_minimum"
    assert outcome(call(MINI, floor=100_000), earlier(MINI)) != "below_minimum"  # nobody asks the operator there


def test_the_minimum_counts_what_the_model_counts() -> None:
    assert outcome(call(prompt_tokens=500), earlier()) == "below_minimum"


def test_only_what_may_be_marked_counts_for_the_minimum() -> None:
    blocks = read(LONG, "b", "c", system="short")
    assert outcome(call(blocks=blocks, points=[], system_only=True)) == "below_minimum"
    assert outcome(call(blocks=blocks, points=[])) == "first_request"


@pytest.mark.parametrize("model", [SONNET, GPT, MINI, GEMINI])
def test_the_changed_block_is_named(model: str) -> None:
    for blocks, name in ((read("x", "b", "c"), "message 2"), (read("a", "b", system=f"{LONG}!"), "system")):
        # What vendors keep by themselves is any beginning: there the system prompt would have been enough.
        if name == "system" or cache_rules(model).takes_marks:
            assert verdict(call(model, blocks), earlier(model)) == CacheVerdict(CacheOutcome.PREFIX_CHANGED, name)


def test_a_prompt_that_was_cut_says_so() -> None:
    assert verdict(call(blocks=FIRST), earlier(blocks=SECOND)).detail == "shortened"


@pytest.mark.parametrize(
    ("model", "ttl", "seconds"),
    [(SONNET, "5m", 300), (SONNET, "1h", 3_600), (GPT, "30m", 1_800), (GPT, "", 1_800), (MINI, "", 300)],
)
def test_each_lifetime_ends_when_it_ends(model: str, ttl: str, seconds: int) -> None:
    assert outcome(call(model, after=seconds - 1), earlier(model, ttl=ttl)) == "unknown"
    assert outcome(call(model, after=seconds), earlier(model, ttl=ttl)) == "ttl_expired"


def test_the_longest_life_within_the_common_part_counts() -> None:
    printed = print_of(SECOND, [Breakpoint(0, "1h"), Breakpoint(3, "5m")])
    before = earlier(printed=printed)
    assert outcome(call(blocks=read("x"), after=600), before) == "unknown"
    assert outcome(call(blocks=read("x"), after=3_700), before) == "ttl_expired"


def test_another_host_has_another_cache() -> None:
    found = verdict(call(provider="Azure"), earlier())
    assert found == CacheVerdict(CacheOutcome.PROVIDER_SWITCHED, "Anthropic")
    assert outcome(call(provider="Azure", after=400), earlier()) == "ttl_expired"  # it was gone anyway
    assert outcome(call(provider=None), earlier()) == "unknown"


def test_another_model_has_another_cache() -> None:
    found = verdict(call(), earlier(MINI))
    assert found == CacheVerdict(CacheOutcome.MODEL_SWITCHED, MINI)
    assert outcome(call(after=400), earlier(MINI), earlier()) == "ttl_expired"  # its own is looked at first


def test_models_without_a_cache_support_none() -> None:
    assert outcome(call("google/gemma-4-31b-it")) == "not_supported"


def test_caching_that_is_off_is_disabled_but_a_hit_stays_a_hit() -> None:
    assert outcome(call(MINI, is_enabled=False), earlier(MINI)) == "disabled"
    assert outcome(call(MINI, is_enabled=False, cached_tokens=1_024), earlier(MINI)) == "hit"


def test_what_nobody_told_is_unknown() -> None:
    assert outcome(call(cached_tokens=None), earlier()) == "unknown"
