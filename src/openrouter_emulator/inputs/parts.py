"""Content parts of every kind, counted; one that is not what it says it is earns its 400 on the way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openrouter_emulator.inputs.documents import document_part_tokens
from openrouter_emulator.inputs.pictures import picture_part_tokens
from openrouter_emulator.inputs.sounds import sound_part_tokens
from openrouter_emulator.tokens import count_tokens

Part = Mapping[str, Any]
VIDEO_TOKENS = 800
"""Flat, whatever its length."""


@dataclass(frozen=True, slots=True)
class MediaCounts:
    """What a bill tells of media: how many came with the prompt, and how many of its tokens were heard."""

    pictures: int = 0
    sounds: int = 0
    audio_tokens: int = 0


_COUNTS: dict[str, Callable[[Part], int]] = {
    "text": lambda part: count_tokens(str(part.get("text", ""))),
    "image_url": picture_part_tokens,
    "input_audio": sound_part_tokens,
    "file": document_part_tokens,
}


def count_part_tokens(part: Part) -> int:
    count = _COUNTS.get(str(part.get("type")))
    return VIDEO_TOKENS if count is None else count(part)


def count_of_kind(parts: Iterable[Part], kind: str) -> int:
    """Tokens of all parts of one type."""
    return sum(count_part_tokens(part) for part in parts if part.get("type") == kind)


def count_media(parts: Iterable[Part]) -> MediaCounts:
    parts = list(parts)
    return MediaCounts(
        pictures=sum(part.get("type") == "image_url" for part in parts),
        sounds=sum(part.get("type") == "input_audio" for part in parts),
        audio_tokens=count_of_kind(parts, "input_audio"),
    )
