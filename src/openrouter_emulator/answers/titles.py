"""Short titles, for the request every chat product makes after the first turn."""

import re
from collections.abc import Sequence

from openrouter_emulator.chat.request import Message

MAX_WORDS = 6
LONGEST_INSTRUCTION = 500
"""A longer system message is about more than a title, even if it mentions one."""
_ASKS = re.compile(
    r"\b(?:generate|write|create|suggest|propose|give|make|name|reply|answer|respond|summari[sz]e)\b"
    r"[^.\n]{0,100}\btitle\b(?!=)"
    r"|\b(?:short|concise|brief)\s+(?:\w+\s+)?title\b",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r"^\W*(?:user|human|person|question|message)\W*:\s*", re.IGNORECASE)
_FILLERS = frozenset(
    (
        "a",
        "an",
        "the",
        "is",
        "are",
        "was",
        "do",
        "does",
        "did",
        "of",
        "to",
        "in",
        "on",
        "for",
        "please",
        "can",
        "me",
        "i",
    )
)
_STRIPPED = ".,;:!?\"'`*#()[]{}<>«»“”،؛؟…"


def asks_for_title(messages: Sequence[Message]) -> bool:
    """Whether the last user message begins or ends with the wish for a title, or a short system message is one."""
    systems = [message.text for message in messages if message.role in ("system", "developer")]
    if any(len(text) <= LONGEST_INSTRUCTION and _ASKS.search(text) for text in systems):
        return True
    last_user = next((message.text for message in reversed(messages) if message.role == "user"), "")
    paragraphs = _paragraphs(last_user) or [""]
    return any(_ASKS.search(paragraph) for paragraph in (paragraphs[0], paragraphs[-1]))


def write_title(messages: Sequence[Message], *, default: str) -> str:
    """The first telling words of what the conversation is about."""
    words = [word.strip(_STRIPPED) for word in _subject(messages).split()]
    telling = [word for word in words if word and word.lower() not in _FILLERS] or words
    title = " ".join(telling[:MAX_WORDS]).strip()
    return title[:1].upper() + title[1:] if title else default


def _subject(messages: Sequence[Message]) -> str:
    """The first thing a user says that is not the instruction itself."""
    said = [part for message in messages if message.role == "user" for part in _paragraphs(message.text)]
    about = next((part for part in said if not _ASKS.search(part)), None)
    if about is None:
        about = said[0].rpartition(":")[2] if said else ""
    return _SPEAKER.sub("", about.splitlines()[0] if about else "")


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]
