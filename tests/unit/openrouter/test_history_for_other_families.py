"""What one family signed is not sent to another."""

from typing import Any

import pytest

from app.openrouter.content import without_foreign_reasoning

CLAUDE = {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
GPT = {"type": "reasoning.encrypted", "data": "abc", "format": "openai-responses-v1"}
PLAIN = {"type": "reasoning.text", "text": "Hm", "format": "unknown"}
SEALED = {"type": "reasoning.encrypted", "data": "abc", "format": None}


def history(*details: dict[str, Any]) -> list[dict[str, Any]]:
    question = {"role": "user", "content": "Peace?"}
    return [question, {"role": "assistant", "content": "Peace.", "reasoning": "Hm", "reasoning_details": [*details]}]


@pytest.mark.parametrize(
    ("details", "models", "kept"),
    [
        ((CLAUDE,), ("anthropic/claude-sonnet-5.5",), (CLAUDE,)),
        ((CLAUDE,), ("~anthropic/claude-sonnet-latest",), (CLAUDE,)),
        ((CLAUDE,), ("openai/gpt-4o",), ()),
        ((CLAUDE,), ("anthropic/claude-sonnet-5.5", "openai/gpt-4o"), ()),
        ((CLAUDE,), ("openrouter/auto",), ()),
        ((GPT, PLAIN), ("google/gemini-2.5-flash",), (PLAIN,)),
        ((SEALED,), ("x-ai/grok-4.7",), ()),
        ((PLAIN,), ("deepseek/deepseek-v3.2",), (PLAIN,)),
    ],
)
def test_blocks_go_only_where_they_can_be_read(details: Any, models: tuple[str, ...], kept: Any) -> None:
    message = without_foreign_reasoning(history(*details), models)[1]
    assert tuple(message.get("reasoning_details", ())) == kept
    assert ("reasoning_details" in message) == bool(kept)
    assert (message["content"], message["reasoning"]) == ("Peace.", "Hm")


def test_an_empty_list_stays() -> None:
    messages = [*history(CLAUDE), *history()]
    assert without_foreign_reasoning(messages, ("deepseek/deepseek-v3.2",))[-1]["reasoning_details"] == []


def test_the_given_messages_are_not_changed() -> None:
    messages = history(CLAUDE)
    without_foreign_reasoning(messages, ("openai/gpt-4o",))
    assert messages == history(CLAUDE)
