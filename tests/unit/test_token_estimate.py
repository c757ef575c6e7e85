"""The guess at a prompt's tokens errs on the high side in every script, but not by much."""

import pytest

from app.openrouter.tokens import TOKENS_PER_MESSAGE, estimate_prompt_tokens, estimate_tokens

# Letters a token in large vocabularies: English 4.6, Arabic 3; a Chinese character is up to 1.2 tokens.
SAMPLES = [
    ("The five pillars of Islam are the profession of faith, prayer, alms, fasting and pilgrimage.", 20),
    ("أركان الإسلام خمسة: الشهادتان، وإقام الصلاة، وإيتاء الزكاة، وصوم رمضان، وحج البيت.", 30),
    ("伊斯兰教的五功是念、礼、斋、课、朝。", 20),
]


@pytest.mark.parametrize(("text", "tokens"), SAMPLES)
def test_the_guess_is_high_but_within_twice_the_truth(text: str, tokens: int) -> None:
    assert tokens <= estimate_tokens(text) <= 2 * tokens


def test_nothing_is_nothing_and_a_letter_is_something() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("a") == 1


def test_each_message_costs_its_envelope() -> None:
    assert estimate_prompt_tokens([{"role": "user", "content": ""}] * 3) == 3 * TOKENS_PER_MESSAGE


def test_marked_content_counts_like_plain_content() -> None:
    parts = [{"type": "text", "text": "a tradition", "cache_control": {"type": "ephemeral"}}]

    assert estimate_prompt_tokens([{"role": "system", "content": parts}]) == estimate_prompt_tokens(
        [{"role": "system", "content": "a tradition"}]
    )
