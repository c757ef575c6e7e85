"""Puts a prompt together: what never changes first, what is new last, so that the front can be cached."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal
from uuid import UUID

from app.core.text import storable

WireMessage = dict[str, Any]
PartKind = Literal["system", "rag", "history", "user", "volatile"]
"""What a part of a prompt is: `rag` are documents given with one question, `user` that question, `volatile` what is
told anew with each question."""
_OUR_TAGS = re.compile(r"<(?=\s*/?\s*(?:documents?|summary|values)\b)", re.IGNORECASE)
"""Where a text would open or close a document or a summary: it must not speak outside its own."""


@dataclass(frozen=True, slots=True)
class Document:
    """Something to answer from, given with one question."""

    text: str
    title: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """One earlier message as history needs it; ``answers`` is the message it replies to.

    ``depth`` counts the messages before it on its branch, ``tokens_before`` their tokens; ``summary`` stands for it and
    all of them.
    """

    id: UUID
    answers: UUID | None
    role: str
    content: str
    is_usable: bool
    depth: int = 0
    tokens_before: int = 0
    summary: str | None = None
    wire: tuple[WireMessage, ...] = ()
    """What is sent of it, where that is more than its text."""
    in_words: tuple[str, ...] = ()
    """Why each of the files beside it is only told of in words."""

    @property
    def as_sent(self) -> tuple[WireMessage, ...]:
        """It in a prompt; mostly one message."""
        return self.wire or ({"role": self.role, "content": self.content},)


def select_history(said: Sequence[Said]) -> list[WireMessage]:
    """The question-and-answer pairs among earlier messages, oldest first.

    A question whose answer failed is left out: sent again it would stand there twice, unanswered.
    """
    answered = {each.answers for each in said if each.role == "assistant" and each.is_usable}
    known = {each.id for each in said}
    return [
        message
        for each in said
        if (each.id in answered if each.role == "user" else each.is_usable and each.answers in known)
        for message in each.as_sent
    ]


def build_messages(
    *,
    system_prompt: str,
    history: Sequence[WireMessage],
    question: Sequence[WireMessage],
    documents: Sequence[Document] = (),
    summary: str = "",
    values: str = "",
) -> list[WireMessage]:
    """System prompt, history, then the newest turn with its documents in front of the question.

    Earlier turns come without their documents: those stand in a part of their own, behind all that can be cached. At
    the very end stands ``values``, what a preset's variables stand for: no mark of a cache comes behind it. A summary
    stands right behind the system prompt, in front of the first question that goes along: it keeps its place.
    """
    *before, newest = question
    if documents:
        newest = _with_text_before(newest, _quote(documents))
    if values:
        newest = {**newest, "content": [*_parts(newest), _text("\n\n" + values)]}
    turns = [*history, *before, newest]
    if summary:
        turns[0] = _with_text_before(turns[0], _remember(summary))
    return [{"role": "system", "content": system_prompt}, *turns]


def kinds_of(
    history: Sequence[WireMessage],
    question: Sequence[WireMessage],
    documents: Sequence[Document] = (),
    summary: str = "",
    values: str = "",
) -> list[list[PartKind]]:
    """What each part of the messages of ``build_messages`` is."""
    turns: list[list[PartKind]] = [["history"] * _count_parts(each) for each in history]
    turns += [["user"] * _count_parts(each) for each in question]
    if documents:
        turns[-1] = ["rag", *turns[-1]]
    if values:
        turns[-1] = [*turns[-1], "volatile"]
    if summary:
        turns[0] = ["history", *turns[0]]
    return [["system"], *turns]


def _with_text_before(message: WireMessage, text: str) -> WireMessage:
    return {**message, "content": [_text(text + "\n\n"), *_parts(message)]}


def _parts(message: WireMessage) -> list[Any]:
    content = message["content"]
    return content if isinstance(content, list) else [_text(content)]


def _count_parts(message: WireMessage) -> int:
    return len(message["content"]) if isinstance(message["content"], list) else 1


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _remember(summary: str) -> str:
    return (
        f"<summary>\nWhat was said in this conversation before, in short:\n{_OUR_TAGS.sub('&lt;', summary)}\n</summary>"
    )


def _quote(documents: Sequence[Document]) -> str:
    parts = [
        f'<document index="{index}" title="{escape(each.title)}" source="{escape(each.source)}">\n'
        f"{_OUR_TAGS.sub('&lt;', each.text)}\n</document>"
        for index, each in enumerate(documents, start=1)
    ]
    return "<documents>\n" + "\n".join(parts) + "\n</documents>"


def _shown(text: str) -> str:
    """Without what a list of titles must not carry out: control signs, and what turns the letters behind it around.

    Empty where nothing that can be seen is left. Joiners stay: Persian and Urdu are written with them.
    """
    left = "".join(each for each in text if each.isspace() or not _STEERS.match(each))
    return left if any(each.isprintable() and not each.isspace() for each in left) else ""


_STEERS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")


def title_from(text: str, *, limit: int = 60) -> str:
    """A title from the first words of a message, for when no model gives one."""
    line = " ".join(_shown(text).split())
    if len(line) > limit:
        head = line[: limit - 1]
        line = (head.rsplit(" ", 1)[0] if " " in head else head).rstrip(" ,.;:")
        line = line and f"{line}…"
    return line or "New conversation"


def clean_title(text: str, *, limit: int = 80) -> str:
    """A model's title without quotation marks, headings or a full stop, on one line; empty when nothing is left."""
    line = next((line for line in _shown(storable(text)).splitlines() if line.strip(" #*\"'`«»“”.")), "")
    return line.strip(" #*\"'`«»“”.")[:limit].strip()
