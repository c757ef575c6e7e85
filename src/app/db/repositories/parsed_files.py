"""What was read of documents."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Attachment, Message, ParsedFile
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

    async def list_hashes_of_conversation(self, user_id: UUID, conversation_id: UUID) -> set[str]:
        """Which documents, those at addresses among them, were read with answers of a conversation."""
        query = (
            select(ParsedFile.file_hash)
            .join(Message, (Message.user_id == ParsedFile.user_id) & (Message.id == ParsedFile.message_id))
            .where(ParsedFile.user_id == user_id, Message.conversation_id == conversation_id)
        )
        return set((await self._session.scalars(query)).all())

    async def forget(self, user_id: UUID, file_hashes: Collection[str]) -> None:
        """Forget what was read of those of these documents that the account has no file of any more."""
        has_file = exists().where(
            Attachment.user_id == user_id, Attachment.sha256 == ParsedFile.file_hash, Attachment.deleted_at.is_(None)
        )
        await self._session.execute(
            delete(ParsedFile)
            .where(ParsedFile.user_id == user_id, ParsedFile.file_hash.in_(list(file_hashes)), not_(has_file))
            .execution_options(synchronize_session=False)
        )
