"""Short titles, for the request every chat product makes after the first turn."""

import re
from collections.abc import Sequence

from openrouter_emulator.chat.request import Message

MAX_WORDS = 6
_ASKS = re.compile(
    r"\b(?:short|concise|brief|generate|write|create|suggest|propose|give|name|words?|reply with)\b.{0,120}\btitle\b"
    r"|\btitle\b.{0,80}\b(?:short|concise|brief|words?|conversation|chat)\b",
    re.IGNORECASE | re.DOTALL,
)
_SPEAKER = re.compile(r"^\W*(?:user|human|question|message)\W*:\s*", re.IGNORECASE | re.MULTILINE)
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
    """Whether the last user message, or a system message, is an instruction to write a title."""
    last_user = next((message.text for message in reversed(messages) if message.role == "user"), "")
    systems = [message.text for message in messages if message.role in ("system", "developer")]
    return any(_ASKS.search(text) for text in (last_user, *systems))


def write_title(messages: Sequence[Message], *, default: str) -> str:
    """The first telling words of what the conversation is about."""
    subject = _subject([message.text for message in messages if message.role == "user"])
    words = [word.strip(_STRIPPED) for word in subject.split()]
    telling = [word for word in words if word and word.lower() not in _FILLERS] or words
    title = " ".join(telling[:MAX_WORDS]).strip()
    return title[:1].upper() + title[1:] if title else default


def _subject(texts: Sequence[str]) -> str:
    """A user's own words if there are any, else what the instruction quotes."""
    plain = [text for text in texts if not _ASKS.search(text)]
    if plain:
        return plain[0]
    quoted = texts[-1] if texts else ""
    spoken = _SPEAKER.search(quoted)
    if spoken:
        return quoted[spoken.end() :].split("\n", 1)[0]
    return quoted.rpartition("\n\n")[2] if "\n\n" in quoted else quoted.rpartition(":")[2]
