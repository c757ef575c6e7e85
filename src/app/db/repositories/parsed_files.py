"""What was read of documents."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import ParsedFile
from app.db.repositories.dialect import insert_or


class ParsedFiles:
    """Reads and writes ``parsed_files``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_of(self, user_id: UUID, file_hashes: Collection[str]) -> Sequence[ParsedFile]:
        """All that was read of these documents, by whichever engine."""
        query = select(ParsedFile).where(ParsedFile.user_id == user_id, ParsedFile.file_hash.in_(list(file_hashes)))
        return (await self._session.scalars(query)).all()

    async def keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add what was read; what an engine has read of a document before stays as it is."""
        await self._session.execute(
            insert_or(self._session, ParsedFile)
            .values(list(rows))
            .on_conflict_do_nothing(index_elements=["user_id", "file_hash", "engine"])
        )
