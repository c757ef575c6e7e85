"""Simulated answers: readable Markdown that depends only on the request and the seed."""

import hashlib
import random
import re
from collections.abc import Sequence

from openrouter_emulator.answers.phrases import ARABIC, ENGLISH, PERSIAN, Phrases
from openrouter_emulator.answers.titles import asks_for_title, write_title
from openrouter_emulator.chat.request import Message

QUOTE_LENGTH = 160
_PERSIAN_LETTERS = re.compile("[پچژگکی‌]")
_ARABIC_SCRIPT = re.compile("[\u0600-\u06ff]")
_LATIN_LETTERS = re.compile("[A-Za-z]")


def write_answer(messages: Sequence[Message], *, seed: int) -> str:
    """The text a model would have written: a title line when one is asked for, else an answer of 80 to 250 words."""
    question = last_user_text(messages)
    phrases = phrases_for(question)
    if asks_for_title(messages):
        return write_title(messages, default=phrases.title)
    choice = random_for(messages, seed=seed)
    return "\n\n".join(_paragraphs(phrases, choice, question=question, messages=len(messages)))


def random_for(messages: Sequence[Message], *, seed: int) -> random.Random:
    """A source of chance that the same messages and seed always repeat."""
    digest = hashlib.sha256(str(seed).encode())
    for message in messages:
        digest.update(f"\x00{message.role}\x00{message.content!r}".encode(errors="surrogatepass"))
    return random.Random(digest.digest())  # noqa: S311 - repeatable on purpose


def phrases_for(text: str) -> Phrases:
    """Arabic script answers in Arabic, or in Persian when letters only Persian has are there."""
    if len(_ARABIC_SCRIPT.findall(text)) <= len(_LATIN_LETTERS.findall(text)):
        return ENGLISH
    return PERSIAN if _PERSIAN_LETTERS.search(text) else ARABIC


def last_user_text(messages: Sequence[Message]) -> str:
    return next((message.text for message in reversed(messages) if message.role == "user" and message.text), "")


def _paragraphs(phrases: Phrases, choice: random.Random, *, question: str, messages: int) -> list[str]:
    facts = {"messages": messages, "words": len(question.split())}
    points = sorted(choice.sample(range(len(phrases.points)), choice.randint(3, 5)))
    return [
        f"## {choice.choice(phrases.headings)}",
        f"> {shortened(question, QUOTE_LENGTH) or '…'}",
        phrases.disclaimer,
        f"### {phrases.received_heading}",
        "\n".join(f"- {line.format(**facts)}" for line in phrases.received),
        f"### {phrases.points_heading}",
        "\n".join(f"{number}. {phrases.points[point]}" for number, point in enumerate(points, start=1)),
        choice.choice(phrases.closings),
    ]


def shortened(text: str, length: int) -> str:
    """One line of at most `length` characters, an ellipsis where something was left out."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
