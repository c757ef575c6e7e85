"""Draws decodable PNG pictures without an imaging library: soft gradients whose colours come from a seed."""

import hashlib
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COPY_FROM_ABOVE = b"\x02"


def draw_png(seed: str, width: int, height: int, *, prompt: str = "") -> bytes:
    """The same picture for the same seed and size, a few kilobytes whatever the size. It tells its prompt in a text."""
    colours = hashlib.sha256(seed.encode()).digest()
    first = b"".join(bytes(_blend(colours[c], colours[c + 3], x, width) for c in range(3)) for x in range(width))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"\x00" + first + b"".join(COPY_FROM_ABOVE + _step(y, height, colours) * width for y in range(1, height))
    text = _chunk(b"iTXt", b"Description\0\0\0\0\0" + prompt.encode(errors="replace")) if prompt else b""
    pixels = _chunk(b"IDAT", zlib.compress(rows, 6))
    return SIGNATURE + _chunk(b"IHDR", header) + pixels + text + _chunk(b"IEND", b"")


def _blend(start: int, end: int, position: int, length: int) -> int:
    return start + (end - start) * position // length


def _step(row: int, height: int, colours: bytes) -> bytes:
    """How each pixel differs from the one above it: the colours drift by up to 64 steps from top to bottom."""
    drift = 64
    moves = (row * drift // height) - ((row - 1) * drift // height)
    return bytes((moves * (1 if colours[6 + c] % 2 else -1)) % 256 for c in range(3))


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum
