"""The store of bytes that is the database: each file in many small rows."""

from collections.abc import AsyncIterator

from app.blobs.chunks import regrouped
from app.blobs.store import BlobKey, BlobMissing
from app.db.database import Database

CHUNK_BYTES = 256 * 1024
"""How long each row but the last is. Ranges are found by it: what is stored keeps the length it was stored with."""
CHUNKS_AT_ONCE = 4
"""How many rows are in memory at a time, and in one transaction: nobody waits for a whole file to be written."""


class DatabaseBlobs:
    """Keeps bytes in ``blob_chunks``. What is whole and what is not, ``blobs`` knows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, key: BlobKey, chunks: AsyncIterator[bytes]) -> None:
        """Write the rows, some in each transaction. An empty file has one empty row."""
        place, waiting = 0, list[tuple[int, bytes]]()
        async for chunk in regrouped(chunks, CHUNK_BYTES):
            waiting.append((place, chunk))
            place += len(chunk)
            if len(waiting) == CHUNKS_AT_ONCE:
                await self._write(key, waiting)
                waiting = []
        if waiting or place == 0:
            await self._write(key, waiting or [(0, b"")])

    async def get(self, key: BlobKey, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Read the rows, some at a time; no connection is held between."""
        place = first = start - start % CHUNK_BYTES
        while end is None or place < end:
            async with self._database.read_only() as uow:
                rows = await uow.blob_chunks.list_from(key.user_id, key.id, place, limit=CHUNKS_AT_ONCE)
                if not rows and place == first and not await uow.blob_chunks.has_any(key.user_id, key.id):
                    raise BlobMissing(key)
            for row in rows:
                last = len(row.data) if end is None else max(0, end - row.start_byte)
                if piece := row.data[max(0, start - row.start_byte) : last]:
                    yield piece
            if len(rows) < CHUNKS_AT_ONCE:
                return
            place = rows[-1].start_byte + len(rows[-1].data)

    async def exists(self, key: BlobKey) -> bool:
        """Whether there is any row."""
        async with self._database.read_only() as uow:
            return await uow.blob_chunks.has_any(key.user_id, key.id)

    async def delete(self, key: BlobKey) -> None:
        """Remove all rows."""
        async with self._database.unit_of_work() as uow:
            await uow.blob_chunks.delete(key.user_id, key.id)
            await uow.commit()

    async def aclose(self) -> None:
        """The database closes itself."""

    async def _write(self, key: BlobKey, chunks: list[tuple[int, bytes]]) -> None:
        async with self._database.unit_of_work() as uow:
            await uow.blob_chunks.add(key.user_id, key.id, chunks)
            await uow.commit()
