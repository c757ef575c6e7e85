"""How many tokens a text will be, guessed on the high side: what is reserved before OpenRouter counts for itself."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.openrouter.media import Media, raw_tokens

LATIN_CHARS_PER_TOKEN = 3.6
"""English runs at 4.6 with today's tokenizers, JSON and code at 2.4."""
TWO_BYTE_CHARS_PER_TOKEN = 2.6
"""Arabic, Persian, Hebrew, Cyrillic, Greek run at about 3."""
WIDE_TOKENS_PER_CHAR = 1.3
"""Chinese, Japanese, Korean, emoji: at most about 1.2 tokens a character."""
TOKENS_PER_MESSAGE = 6
"""Role and separators around each message."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text; never fewer than 1 for a text that is not empty."""
    bytes_in_all = len(text.encode("utf-8", "replace"))
    latin = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    # Of the other characters w are wide (3 bytes and more), the rest take 2: bytes = latin + 2 * (others - w) + 3 * w.
    others = len(text) - latin
    wide = min(others, max(0, bytes_in_all - latin - 2 * others))
    tokens = latin / LATIN_CHARS_PER_TOKEN + (others - wide) / TWO_BYTE_CHARS_PER_TOKEN + wide * WIDE_TOKENS_PER_CHAR
    return int(tokens) + 1 if text else 0


def estimate_prompt_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Tokens of a planned prompt: its texts, and what goes along with them."""
    return sum(TOKENS_PER_MESSAGE + _content_tokens(message.get("content")) for message in messages)


def _content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return estimate_tokens(content)
    parts = [part for part in content or () if isinstance(part, Mapping)]
    text = "".join(part.get("text") or "" for part in parts)
    media: list[Media] = [part["media"] for part in parts if "media" in part]
    return estimate_tokens(text) + sum(each.tokens for each in media) + sum(map(raw_tokens, parts))
