"""What is kept of a prompt to tell later where another one departed from it: short hashes, never text."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_marks import Breakpoint

HASH_BYTES = 4
"""Enough to tell two prompts of one conversation apart: one mistake in four thousand million comparisons."""
MOST_HASHES = 200
"""Of longer prompts every second block is kept, or every fourth, and so on: the whole stays below a kilobyte."""


class PrintedMark(msgspec.Struct, frozen=True, array_like=True):
    """A marked block: its place, how long it was asked to be kept (empty: the vendor's own time), and its hash."""

    block: int
    ttl: str
    digest: bytes


class PromptPrint(msgspec.Struct, frozen=True, array_like=True):
    """Hashes of every `stride`-th block, each of everything up to its end, and those of the marked blocks."""

    blocks: int
    stride: int
    digests: bytes
    marks: tuple[PrintedMark, ...]


class CachedCall(msgspec.Struct, frozen=True, array_like=True):
    """A call that left something in a cache. `began_at` is when its answer began, in Unix seconds: from then on its
    prompt could be read. `tokens` is how far into its prompt it left something; None: nobody told. `was_ordered`: its
    host was asked for by name, so that OpenRouter itself does not keep to it.
    """

    model: str
    provider: str | None
    began_at: float
    tokens: int | None
    printed: PromptPrint
    was_ordered: bool = False
    searched: bool = False
    """Whether the prompt began with the tool that searches the web."""


@dataclass(frozen=True, slots=True)
class Common:
    """How far two prompts are the same: at least `blocks` blocks. `changed` is the first one that may differ, by its
    index in the later prompt; None where that one ends before it differs.
    """

    blocks: int
    changed: int | None


def print_of(blocks: PromptBlocks, points: Sequence[Breakpoint], *, end_is_kept: bool = False) -> PromptPrint:
    """The print of a prompt. `end_is_kept`: the vendor marks the end by itself."""
    stride = 1
    while len(blocks) // stride > MOST_HASHES:
        stride *= 2
    marks = {point.block: point.ttl for point in points}
    if end_is_kept:
        marks.setdefault(len(blocks) - 1, "")
    return PromptPrint(
        len(blocks),
        stride,
        b"".join(_digest(prefix) for prefix in blocks.prefixes[stride - 1 :: stride]),
        tuple(PrintedMark(at, ttl, _digest(blocks.prefixes[at])) for at, ttl in sorted(marks.items())),
    )


def encode(call: CachedCall) -> bytes:
    """For the column it is kept in."""
    return _encoder.encode(call)


def decode(stored: bytes | None) -> CachedCall | None:
    """None where there is none, or it was written by a version that kept something else."""
    if stored is None:
        return None
    try:
        return _decoder.decode(stored)
    except msgspec.MsgspecError:
        return None


def common_part(printed: PromptPrint, blocks: PromptBlocks) -> Common:
    """How far a prompt is the same as the printed one."""
    same = 0
    for at, digest in _kept(printed):
        if at >= len(blocks) or _digest(blocks.prefixes[at]) != digest:
            break
        same = at + 1
    return Common(same, same if same < len(blocks) else None)


def _digest(prefix: int) -> bytes:
    return (prefix & 0xFFFF_FFFF).to_bytes(HASH_BYTES, "big")


def _kept(printed: PromptPrint) -> list[tuple[int, bytes]]:
    """Places and hashes, in order."""
    stride, digests = printed.stride, printed.digests
    found = {
        (index + 1) * stride - 1: digests[index * HASH_BYTES : (index + 1) * HASH_BYTES]
        for index in range(len(digests) // HASH_BYTES)
    }
    return sorted((found | {mark.block: mark.digest for mark in printed.marks}).items())


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CachedCall)
