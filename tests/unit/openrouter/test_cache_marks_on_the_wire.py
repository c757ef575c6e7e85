"""The marks a planned prompt bears, by family of vendors and by strategy."""

from typing import Any

import pytest

from app.openrouter.prompt_cache import CachePlan, CachePlanner, CachePolicy, CacheStrategy, CacheUsage

CLAUDE, GPT, QWEN = "anthropic/claude-sonnet-4.6", "openai/gpt-5.6-sol", "qwen/qwen-plus"
BY_THEMSELVES = ("openai/gpt-5.1", "deepseek/deepseek-v3.2", "x-ai/grok-4.7", "moonshotai/kimi-k2.6", "z-ai/glm-4.7")
SHORT: dict[str, str] = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}
RULES = "Answer from the sources. " * 400


def conversation(*said: str) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": "system", "content": RULES}] + [
        {"role": roles[number % 2], "content": text} for number, text in enumerate(said)
    ]


def marks(plan: CachePlan) -> list[tuple[int, int, dict[str, str]]]:
    """Message, part and mark of every content part that bears one."""
    return [
        (at, number, part["cache_control"])
        for at, message in enumerate(plan.messages)
        if isinstance(message.get("content"), list)
        for number, part in enumerate(message["content"])
        if "cache_control" in part
    ]


def plan(model: str, messages: list[dict[str, Any]], strategy: CacheStrategy = "auto", **more: Any) -> CachePlan:
    return CachePlanner().plan(messages, model, now=0.0, policy=CachePolicy(strategy=strategy), **more)


class TestFixedStrategies:
    @pytest.mark.parametrize("model", [CLAUDE, QWEN, GPT])
    def test_system_marks_the_system_prompt_alone(self, model: str) -> None:
        assert marks(plan(model, conversation("one", "two", "three"), "system")) == [(0, 0, SHORT)]

    @pytest.mark.parametrize("model", [CLAUDE, QWEN, GPT])
    def test_conversation_marks_the_whole_prompt_too(self, model: str) -> None:
        planned = plan(model, conversation("one", "two", "three"), "conversation")

        assert marks(planned) == [(0, 0, SHORT), (3, 0, SHORT)]
        assert len(planned.breakpoints) == 2

    @pytest.mark.parametrize("model", [CLAUDE, QWEN, GPT])
    def test_off_sends_the_messages_as_they_are(self, model: str) -> None:
        messages = conversation("one")

        assert list(plan(model, messages, "off").messages) == messages

    @pytest.mark.parametrize(("model", "options"), [(CLAUDE, None), (QWEN, None), (GPT, {"mode": "explicit"})])
    def test_off_keeps_vendors_from_writing_paid_entries_by_themselves(self, model: str, options: Any) -> None:
        assert plan(model, conversation("one"), "off").prompt_cache_options == options


class TestVendors:
    def test_claude_keeps_what_all_share_for_an_hour(self) -> None:
        assert (0, 0, LONG) in marks(plan(CLAUDE, conversation("one")))

    def test_qwen_knows_no_hour(self) -> None:
        assert [mark for _, _, mark in marks(plan(QWEN, conversation("one")))][:1] == [SHORT]

    def test_gpt_is_told_to_write_only_at_marks_and_no_lifetimes(self) -> None:
        planned = plan(GPT, conversation("one"))

        assert planned.prompt_cache_options == {"mode": "explicit"}
        assert [mark for _, _, mark in marks(planned)][:1] == [SHORT]

    def test_gpt_with_nothing_worth_writing_is_told_to_write_nothing(self) -> None:
        planned = plan(GPT, [{"role": "user", "content": "Hello"}])

        assert (planned.prompt_cache_options, planned.breakpoints) == ({"mode": "explicit"}, ())

    @pytest.mark.parametrize("model", [*BY_THEMSELVES, "google/gemini-2.5-flash"])
    def test_vendors_that_cache_by_themselves_are_left_alone(self, model: str) -> None:
        messages = conversation("one", "two", "three")
        planned = plan(model, messages)

        assert (list(planned.messages), planned.breakpoints, planned.prompt_cache_options) == (messages, (), None)


class TestMinimum:
    def test_what_is_too_short_for_the_model_stays_unmarked(self) -> None:
        assert plan("anthropic/claude-haiku-4.5", conversation("one")).breakpoints == ()
        assert plan("anthropic/claude-sonnet-5.5", conversation("one")).breakpoints != ()

    def test_the_settings_floor_stands_above_the_models(self) -> None:
        policy = CachePolicy(min_tokens=100_000)

        assert CachePlanner().plan(conversation("one"), CLAUDE, now=0.0, policy=policy).breakpoints == ()


def test_marks_stand_on_parts_and_change_no_text() -> None:
    messages = conversation("one", "two", "three")
    messages[1]["content"] = [{"type": "text", "text": "docs"}, {"type": "text", "text": "one"}]
    planned = plan(CLAUDE, messages, "conversation")

    assert all("cache_control" not in message for message in planned.messages)
    assert [text_of(message) for message in planned.messages] == [text_of(message) for message in messages]


CALL = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "search"}}]}


@pytest.mark.parametrize("strategy", ["auto", "conversation"])
@pytest.mark.parametrize(
    "empty",
    [CALL, CALL | {"content": None}, {"role": "assistant", "content": ""}, {"role": "assistant", "content": []}],
    ids=["missing", "null", "text", "list"],
)
def test_no_mark_stands_on_what_is_empty(empty: dict[str, Any], strategy: CacheStrategy) -> None:
    asked = conversation("one")
    for messages in ([*asked, empty], [*asked, empty, {"role": "user", "content": "two"}]):
        planned = plan(CLAUDE, messages, strategy)
        assert planned.messages[len(asked)] is empty
        assert len(marks(planned)) == len(planned.breakpoints) >= 2


def test_no_mark_stands_on_an_empty_part() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": ""}]
    planned = plan(CLAUDE, [*conversation(), {"role": "user", "content": parts}], "conversation")

    assert marks(planned) == [(0, 0, SHORT), (1, 0, SHORT)]


@pytest.mark.parametrize("strategy", ["auto", "conversation"])
def test_no_mark_stands_on_what_is_volatile(strategy: CacheStrategy) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "told anew each time"}]
    messages = [*conversation(), {"role": "user", "content": parts}]
    planned = CachePlanner().plan(
        messages, CLAUDE, now=0.0, kinds=[["system"], ["user", "volatile"]], policy=CachePolicy(strategy=strategy)
    )
    assert marks(planned)
    assert all((at, number) != (1, 1) for at, number, _ in marks(planned))


def test_an_unknown_lifetime_of_a_client_counts_as_the_shortest() -> None:
    strange = {"type": "text", "text": "one", "cache_control": {"type": "ephemeral", "ttl": "2h"}}
    planned = plan(CLAUDE, [*conversation(), {"role": "user", "content": [strange]}, *conversation("two")[1:]])

    assert [ttl for _, _, ttl in marks(planned)][-1] == SHORT
    assert planned.messages[1]["content"] == [strange]


def test_tools_are_marked_on_the_tool() -> None:
    tools = [{"type": "function", "function": {"name": "search", "description": RULES}}]
    planned = CachePlanner().plan(
        [{"role": "user", "content": "one"}], CLAUDE, now=0.0, tools=tools, policy=CachePolicy(strategy="system")
    )

    assert planned.tools == [{**tools[0], "cache_control": SHORT}]


def test_a_clients_own_marks_stay_and_come_first() -> None:
    messages = conversation(*(f"text {number} " * 500 for number in range(7)))
    for at in (1, 3, 5):
        messages[at]["content"] = [{"type": "text", "text": messages[at]["content"], "cache_control": SHORT}]
    planned = plan(CLAUDE, messages, "conversation")

    assert [at for at, _, _ in marks(planned)] == [1, 3, 5, 7]


def test_never_more_than_four_and_never_a_short_life_before_a_long_one() -> None:
    planner = CachePlanner()
    said: list[str] = []
    for turn in range(12):
        said.append(f"question {turn} " * 200)
        planned = planner.plan(conversation(*said), CLAUDE, now=turn * 400.0, conversation="c")
        ttls = [point.ttl for point in planned.breakpoints]
        assert len(marks(planned)) == len(ttls) <= 4
        assert ttls == sorted(ttls, key=["1h", "5m"].index)
        total = planned.ticket.blocks.ends[-1]
        planner.observe(planned.ticket, CacheUsage(prompt_tokens=total, cached_tokens=0, cache_write_tokens=total))
        said.append(f"answer {turn} " * 200)


def text_of(message: Any) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
