"""Pictures in a prompt: whether their bytes are what they claim, how large they are, how many tokens that makes."""

import struct
from collections.abc import Mapping
from typing import Any

from openrouter_emulator.inputs.data_urls import read_data_url, unreadable

PIXELS_PER_TOKEN = 750
FEWEST, MOST = 85, 1_600
"""Tokens of one picture: small ones count as much as `detail: low`, large ones are scaled down first."""
UNSEEN = 1_024
"""Of a picture that the host will fetch."""
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def picture_part_tokens(part: Mapping[str, Any]) -> int:
    """Raises a 400 for a picture that no host would read."""
    size = _size(part)
    if (part.get("image_url") or {}).get("detail") == "low":
        return FEWEST
    return UNSEEN if size is None else min(MOST, max(FEWEST, size[0] * size[1] // PIXELS_PER_TOKEN))


def _size(part: Mapping[str, Any]) -> tuple[int, int] | None:
    url = (part.get("image_url") or {}).get("url")
    if not isinstance(url, str):
        raise unreadable("'image_url.url' is required.", "invalid_image")
    found = read_data_url(url, error_type="invalid_image")
    if found is None:
        return None
    media_type, content = found
    if media_type not in ("image/png", "image/jpeg", "image/webp", "image/gif"):
        raise unreadable(f"Unsupported image format: {media_type}.", "unsupported_image_format")
    try:
        size = _READERS[media_type](content)
    except (struct.error, IndexError):
        size = None
    if size is None or 0 in size:
        raise unreadable(f"The image is not a readable {media_type}.", "invalid_image")
    return size


def _png(content: bytes) -> tuple[int, int] | None:
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _gif(content: bytes) -> tuple[int, int] | None:
    if content[:6] not in (b"GIF87a", b"GIF89a"):
        return None
    width, height = struct.unpack("<HH", content[6:10])
    return width, height


def _jpeg(content: bytes) -> tuple[int, int] | None:
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    return None


def _webp(content: bytes) -> tuple[int, int] | None:
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return None
    kind, body = content[12:16], content[20:]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


_READERS = {"image/png": _png, "image/gif": _gif, "image/jpeg": _jpeg, "image/webp": _webp}
