"""The host that has the prompt is asked for by name exactly while that helps."""

from typing import Any

import pytest
from msgspec import structs

from app.openrouter.cache_blocks import BlockReader, PromptBlocks
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_prints import CachedCall, print_of
from app.openrouter.cache_rules import cache_rules
from app.openrouter.cache_warmth import warm_host

SONNET, DEEPSEEK = "anthropic/claude-sonnet-5.5", "deepseek/deepseek-v4-flash"
LONG = "patience " * 2_000


def read(*texts: str) -> PromptBlocks:
    return BlockReader().read([{"role": "user", "content": text} for text in (LONG, *texts)])


def call(model: str = SONNET, ttl: str | None = "1h", **changes: Any) -> CachedCall:
    blocks = read("a")
    points = [Breakpoint(len(blocks) - 1, ttl)] if ttl else []
    return structs.replace(CachedCall(model, "Azure", 1_000.0, 2_000, print_of(blocks, points)), **changes)


def host(*earlier: CachedCall, after: float, model: str = SONNET, blocks: PromptBlocks | None = None) -> str | None:
    return warm_host(earlier, model, blocks or read("a", "b"), cache_rules(model), now=1_000.0 + after)


def test_while_openrouter_keeps_to_the_host_nothing_is_said() -> None:
    assert host(call(), after=500) is None


def test_afterwards_it_is_asked_for_as_long_as_it_has_the_prompt() -> None:
    assert host(call(), after=600) == "Azure"
    assert host(call(), after=3_599) == "Azure"
    assert host(call(), after=3_600) is None


def test_a_short_cache_is_gone_before_the_route_is() -> None:
    assert host(call(ttl="5m"), after=600) is None


def test_a_host_that_was_asked_for_by_name_is_asked_for_again() -> None:
    assert host(call(was_ordered=True), after=60) == "Azure"
    assert host(call(was_ordered=True, printed=call(ttl="5m").printed), after=400) is None


def test_a_changed_prompt_needs_no_host() -> None:
    assert host(call(), after=600, blocks=read("x", "b")) is None


def test_vendors_that_cache_for_hours_by_themselves_are_kept_to() -> None:
    assert host(call(DEEPSEEK, ttl=None), after=1_200, model=DEEPSEEK) == "Azure"


@pytest.mark.parametrize("earlier", [(), (call("openai/gpt-4o"),), (call(provider=None),)])
def test_without_a_host_of_this_model_nothing_is_said(earlier: tuple[CachedCall, ...]) -> None:
    assert host(*earlier, after=600) is None
