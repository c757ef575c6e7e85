"""Files in many small rows."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.models import BlobChunk


class BlobChunks:
    """Reads and writes ``blob_chunks``."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, user_id: UUID, blob_id: UUID, chunks: Sequence[tuple[int, bytes]]) -> None:
        """Add rows: where each begins, and what it holds."""
        rows = [{"user_id": user_id, "blob_id": blob_id, "start_byte": start, "data": data} for start, data in chunks]
        await self._connection.execute(insert(BlobChunk), rows)

    async def list_from(self, user_id: UUID, blob_id: UUID, start: int, *, limit: int) -> Sequence[Any]:
        """At most ``limit`` rows (``start_byte``, ``data``) that begin at ``start`` or behind it, in order."""
        query = (
            select(BlobChunk.start_byte, BlobChunk.data)
            .where(_of(user_id, blob_id), BlobChunk.start_byte >= start)
            .order_by(BlobChunk.start_byte)
            .limit(limit)
        )
        return (await self._connection.execute(query)).all()

    async def has_any(self, user_id: UUID, blob_id: UUID) -> bool:
        """Whether there is a row."""
        return bool(await self._connection.scalar(select(exists().where(_of(user_id, blob_id)))))

    async def delete(self, user_id: UUID, blob_id: UUID) -> None:
        """Remove all rows."""
        await self._connection.execute(delete(BlobChunk).where(_of(user_id, blob_id)))


def _of(user_id: UUID, blob_id: UUID) -> ColumnElement[bool]:
    return and_(BlobChunk.user_id == user_id, BlobChunk.blob_id == blob_id)
