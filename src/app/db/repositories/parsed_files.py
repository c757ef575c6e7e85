"""What was read of documents."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import ParsedFile
from app.db.repositories.dialect import insert_or

_KEY = ("user_id", "file_hash", "engine")


class ParsedFiles:
    """Reads and writes ``parsed_files``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_of(self, user_id: UUID, file_hashes: Collection[str]) -> Sequence[ParsedFile]:
        """All that was read of these documents, by whichever engine."""
        query = select(ParsedFile).where(ParsedFile.user_id == user_id, ParsedFile.file_hash.in_(list(file_hashes)))
        return (await self._session.scalars(query)).all()

    async def keep(self, rows: Sequence[Mapping[str, Any]], *, anew: Collection[str] = ()) -> None:
        """Add what was read; what an engine has read of a document before stays as it is, but for those ``anew``."""
        for row in rows:
            insert = insert_or(self._session, ParsedFile).values(row)
            if row["file_hash"] in anew:
                new = {name: row[name] for name in ("message_id", "annotation", "created_at")}
                insert = insert.on_conflict_do_update(index_elements=_KEY, set_=new)
            else:
                insert = insert.on_conflict_do_nothing(index_elements=_KEY)
            await self._session.execute(insert)
