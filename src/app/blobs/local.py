"""Bytes as files below one folder."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.blobs.chunks import READ_BYTES
from app.blobs.store import BlobKey, BlobMissing


class LocalBlobs:
    """A file for each key, written beside its place and moved there when it is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: BlobKey, chunks: AsyncIterator[bytes]) -> None:
        """Write the file, and be sure that it is on the disk."""
        place, part = self._place(key), self._part(key)
        file = await asyncio.to_thread(_create, part)
        try:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(_settle, file, part, place)
        except BaseException:
            file.close()
            part.unlink(missing_ok=True)
            raise

    async def get(self, key: BlobKey, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Read the file, a portion at a time."""
        try:
            file = await asyncio.to_thread(_open_at, self._place(key), start)
        except FileNotFoundError:
            raise BlobMissing(key) from None
        with file:
            left = None if end is None else max(0, end - start)
            while left != 0:
                size = READ_BYTES if left is None else min(READ_BYTES, left)
                chunk = await asyncio.to_thread(file.read, size)
                if not chunk:
                    return
                yield chunk
                left = None if left is None else left - len(chunk)

    async def exists(self, key: BlobKey) -> bool:
        """Whether the file is in its place."""
        return await asyncio.to_thread(self._place(key).exists)

    async def delete(self, key: BlobKey) -> None:
        """Remove the file, and its folders where they are empty now."""
        await asyncio.to_thread(_remove, self._place(key), self._part(key))

    async def aclose(self) -> None:
        """Nothing is held."""

    def _place(self, key: BlobKey) -> Path:
        return self._folder / key.path

    def _part(self, key: BlobKey) -> Path:
        return self._folder / f"{key.path}.part"


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _open_at(path: Path, start: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(start)
    return file


def _settle(file: BinaryIO, part: Path, place: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    part.replace(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(place: Path, part: Path) -> None:
    place.unlink(missing_ok=True)
    part.unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's files are still there, or it never was
        place.parent.rmdir()
        place.parent.parent.rmdir()
