"""Thinking in the text and answers in the thinking are put where they belong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import chunk, text

from app.openrouter.errors import EmptyAnswer
from app.openrouter.streaming import CompletionFold
from app.openrouter.think_tags import ThinkTags
from app.openrouter.types import Completion, ContentDelta, ReasoningDelta

TEXTS = ["<think>Hm <b> </thi</think>\n\nPeace.", "Peace <think> is </think> kept", "<thin ice", "  ", "<think>cut"]


def part(pieces: list[str]) -> tuple[str, str]:
    tags = ThinkTags()
    parted = [*(tags.feed(piece) for piece in pieces), tags.close()]
    return "".join(thinking for thinking, _ in parted), "".join(text for _, text in parted)


def fold(*pieces: str) -> tuple[list[object], Completion]:
    folding = CompletionFold()
    payloads = [*(text(piece) for piece in pieces), chunk(finish="stop")]
    events = [each for payload in payloads for each in folding.feed(json.dumps(payload).encode())]
    return [*events[1:], *folding.close()], folding.finish()


@pytest.mark.parametrize(
    ("content", "thinking", "answer"),
    [
        (TEXTS[0], "Hm <b> </thi", "Peace."),
        (TEXTS[1], "", TEXTS[1]),
        (TEXTS[2], "", TEXTS[2]),
        (TEXTS[3], "", TEXTS[3]),
        (TEXTS[4], "cut", ""),
    ],
)
def test_thinking_is_parted_from_text(content: str, thinking: str, answer: str) -> None:
    assert part([content]) == (thinking, answer)


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 30), max_size=8))
def test_any_cutting_parts_the_same(content: str, places: list[int]) -> None:
    cuts = sorted(min(place, len(content)) for place in places)
    pieces = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert part(pieces) == part([content])


def test_tagged_thinking_streams_as_reasoning() -> None:
    events, completion = fold("<think>", "Hm.", "</think>", "\n\n", "Peace.")
    assert events == [ReasoningDelta("Hm."), ContentDelta("Peace.")]
    assert (completion.reasoning, completion.content) == ("Hm.", "Peace.")


def test_text_that_only_looks_like_a_tag_is_not_lost() -> None:
    events, completion = fold("<", "thin")
    assert events == [ContentDelta("<thin")]
    assert completion.content == "<thin"


def test_an_answer_behind_a_stray_closing_tag_is_found() -> None:
    folding = CompletionFold()
    payload = chunk({"reasoning": "Hm.</think>\nPeace."}, finish="stop")
    folding.feed(json.dumps(payload).encode())
    assert folding.close() == [ContentDelta("Peace.")]
    completion = folding.finish()
    assert (completion.reasoning, completion.content) == ("Hm.", "Peace.")


def test_thinking_alone_stays_an_empty_answer() -> None:
    with pytest.raises(EmptyAnswer):
        fold("<think>Hm.</think>")
