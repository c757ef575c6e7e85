"""Takes in a file that is being sent: its type from its first bytes, to disk as it comes, no further than allowed."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from app.media.types import HEAD_BYTES, FileType, tell_type
from app.services.file_refusals import EmptyFile, UnsupportedFile

WRITE_BYTES = 1024 * 1024
"""How much is in memory before it is written."""


class Gate(Protocol):
    """Decides, once the type is known, how long such a file may be; raises where it may not come at all."""

    def __call__(self, told: FileType) -> int:
        """The most bytes."""
        ...

    def refuse_length(self, told: FileType, length: int) -> Exception:
        """What to raise where there are more."""
        ...


@dataclass(slots=True)
class Arrival:
    """What came."""

    told: FileType
    sha256: str
    size_bytes: int


async def take_in(chunks: AsyncIterator[bytes], file: BinaryIO, gate: Gate) -> Arrival:
    """Write all chunks to ``file``; breaks off as soon as its type, or its length, is refused."""
    taking = _Taking(file)
    told: FileType | None = None
    most = 0
    async for chunk in chunks:
        taking.waiting += chunk
        if told is None and len(taking.waiting) >= HEAD_BYTES:
            told, most = _judge(taking.waiting, gate)
        if told is not None and taking.length > most:
            raise gate.refuse_length(told, taking.length)
        if len(taking.waiting) >= WRITE_BYTES:
            await taking.write()
    if told is None:
        told, most = _judge(taking.waiting, gate)
        if taking.length > most:
            raise gate.refuse_length(told, taking.length)
    await taking.write()
    return Arrival(told, taking.digest.hexdigest(), taking.written)


def _judge(head: bytes | bytearray, gate: Gate) -> tuple[FileType, int]:
    if not head:
        raise EmptyFile
    told = tell_type(bytes(head[:HEAD_BYTES]))
    if told is None:
        raise UnsupportedFile
    return told, gate(told)


@dataclass(slots=True)
class _Taking:
    file: BinaryIO
    waiting: bytearray = field(default_factory=bytearray)
    written: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def length(self) -> int:
        return self.written + len(self.waiting)

    async def write(self) -> None:
        data, self.waiting = self.waiting, bytearray()
        await asyncio.to_thread(self._write, data)
        self.written += len(data)

    def _write(self, data: bytearray) -> None:
        self.digest.update(data)
        self.file.write(data)
        self.file.flush()
