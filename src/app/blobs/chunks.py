"""Bytes in portions of one size."""

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO

READ_BYTES = 1024 * 1024
"""How much of a file is in memory at a time."""


async def file_chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    """An open file from its beginning; read in a thread."""
    await asyncio.to_thread(file.seek, 0)
    while chunk := await asyncio.to_thread(file.read, READ_BYTES):
        yield chunk


async def regrouped(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes, ``size`` at a time; the last portion may be shorter."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)
