"""Sound in a prompt: base64 in a stated format, which its bytes have to have; tokens go by the second."""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from openrouter_emulator.inputs.data_urls import decode, unreadable

TOKENS_PER_SECOND = 32
COMPRESSED_BYTES_PER_SECOND = 16_000
"""128 kbit/s, for which everything but plain samples is taken."""
PCM_BYTES_PER_SECOND = {"pcm16": 48_000, "pcm24": 72_000}
"""Mono at 24 kHz."""

_LOOKS: dict[str, Callable[[bytes], bool]] = {
    "wav": lambda content: content[:4] == b"RIFF" and content[8:12] == b"WAVE",
    "mp3": lambda content: content[:3] == b"ID3" or (content[0] == 0xFF and content[1:2] >= b"\xe0"),
    "aiff": lambda content: content[:4] == b"FORM" and content[8:12] in (b"AIFF", b"AIFC"),
    "aac": lambda content: content[:2] in (b"\xff\xf1", b"\xff\xf9"),
    "ogg": lambda content: content[:4] == b"OggS",
    "flac": lambda content: content[:4] == b"fLaC",
    "m4a": lambda content: content[4:8] == b"ftyp",
    "pcm16": lambda _content: True,
    "pcm24": lambda _content: True,
}


def sound_part_tokens(part: Mapping[str, Any]) -> int:
    """Raises a 400 for a sound that is not what it claims to be."""
    format_, content = _read(part)
    return math.ceil(_seconds(format_, content) * TOKENS_PER_SECOND)


def _read(part: Mapping[str, Any]) -> tuple[str, bytes]:
    sound = part.get("input_audio")
    data, format_ = (sound.get("data"), sound.get("format")) if isinstance(sound, dict) else (None, None)
    if not isinstance(data, str) or not isinstance(format_, str):
        raise unreadable("'input_audio' needs 'data' and 'format'.", "invalid_request")
    if data.startswith(("https://", "http://", "data:")):
        raise unreadable("'input_audio.data' must be plain base64: URLs are not supported.", "invalid_request")
    if format_ not in _LOOKS:
        raise unreadable(f"Unsupported audio format: {format_}.", "invalid_request")
    content = decode(data, error_type="invalid_request")
    if not _LOOKS[format_](content):
        raise unreadable(f"The audio is not {format_}.", "invalid_request")
    return format_, content


def _seconds(format_: str, content: bytes) -> float:
    if format_ == "wav" and len(content) >= 32:
        per_second = struct.unpack("<I", content[28:32])[0]
        return (len(content) - 44) / per_second if per_second else 0.0
    return len(content) / PCM_BYTES_PER_SECOND.get(format_, COMPRESSED_BYTES_PER_SECOND)
