"""Files of people, and the messages they stand beside."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, exists, not_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound
from app.db.models import Attachment, Message, MessageAttachment, User

BlobKeys = set[tuple[UUID, UUID]]
"""Blobs (user, id) that somebody has stopped naming."""


@dataclass(frozen=True, slots=True)
class TiedAttachment:
    """A file at its place beside a message."""

    message_id: UUID
    attachment: Attachment


class Attachments:
    """Reads and writes ``attachments`` and ``message_attachments``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, attachment: Attachment) -> None:
        """Add a file."""
        self._session.add(attachment)

    async def lock_owner(self, user_id: UUID) -> None:
        """Make other transactions that keep files of this account wait; nobody else does."""
        await self._session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))

    async def require(self, user_id: UUID, attachment_id: UUID, *, for_update: bool = False) -> Attachment:
        """A file that was not deleted; raises :class:`NotFound`."""
        attachment = await self._session.get(Attachment, (user_id, attachment_id), with_for_update=for_update)
        if attachment is None or attachment.deleted_at is not None:
            raise NotFound(f"No attachment {str(attachment_id)!r}.")
        return attachment

    async def list_page(self, user_id: UUID, *, after: UUID | None, limit: int) -> Sequence[Attachment]:
        """At most ``limit`` files older than ``after``, newest first."""
        query = select(Attachment).where(Attachment.user_id == user_id, Attachment.deleted_at.is_(None))
        if after is not None:
            query = query.where(Attachment.id < after)
        return (await self._session.scalars(query.order_by(Attachment.id.desc()).limit(limit))).all()

    async def list_by_id(self, user_id: UUID, ids: Collection[UUID]) -> Mapping[UUID, Attachment]:
        """Those of these files that are there and were not deleted."""
        query = select(Attachment).where(
            Attachment.user_id == user_id, Attachment.id.in_(list(ids)), Attachment.deleted_at.is_(None)
        )
        return {each.id: each for each in await self._session.scalars(query)}

    async def list_of_messages(self, user_id: UUID, message_ids: Collection[UUID]) -> Sequence[TiedAttachment]:
        """The files beside these messages, deleted ones too, in the order they were sent."""
        query = _tied(user_id).where(MessageAttachment.message_id.in_(list(message_ids)))
        return await self._list_tied(query)

    async def list_of_conversation(self, user_id: UUID, conversation_id: UUID) -> Sequence[TiedAttachment]:
        """The files beside all messages of a conversation, deleted ones too, in the order they were sent."""
        query = _tied(user_id).join(
            Message, (Message.user_id == MessageAttachment.user_id) & (Message.id == MessageAttachment.message_id)
        )
        return await self._list_tied(query.where(Message.conversation_id == conversation_id))

    async def delete(self, attachment: Attachment, *, now: datetime) -> BlobKeys:
        """Delete a file; where a message tells of it, all but its description. The blobs it named."""
        named = _named(attachment)
        if await self._session.scalar(select(exists().where(*_ties(attachment)))):
            attachment.blob_id = attachment.model_blob_id = None
            attachment.deleted_at = now
        else:
            await self._session.delete(attachment)
        await self._session.flush()
        return named

    async def delete_untied(self, keys: Collection[tuple[UUID, UUID]]) -> BlobKeys:
        """Delete those of these files (user, id) that stand beside no message; the blobs they named."""
        if not keys:
            return set()
        these = tuple_(Attachment.user_id, Attachment.id).in_(list(keys))
        # Locked first: who sends one with a question changes it, too, and is seen by the second statement.
        await self._session.execute(
            select(Attachment.id).where(these).order_by(Attachment.user_id, Attachment.id).with_for_update()
        )
        tied = exists().where(
            MessageAttachment.user_id == Attachment.user_id, MessageAttachment.attachment_id == Attachment.id
        )
        deleted = await self._session.execute(
            delete(Attachment)
            .where(these, not_(tied))
            .returning(Attachment.user_id, Attachment.blob_id, Attachment.model_blob_id)
            .execution_options(synchronize_session=False)
        )
        return {(row.user_id, each) for row in deleted for each in (row.blob_id, row.model_blob_id) if each}

    async def list_forgotten(self, *, before: datetime, limit: int) -> Sequence[tuple[UUID, UUID]]:
        """Files (user, id) that came before this instant and were never sent."""
        query = (
            select(Attachment.user_id, Attachment.id)
            .where(Attachment.sent_at.is_(None), Attachment.created_at < before)
            .order_by(Attachment.created_at)
            .limit(limit)
        )
        return [(row.user_id, row.id) for row in (await self._session.execute(query)).all()]

    async def _list_tied(self, query: Select[UUID, Attachment]) -> Sequence[TiedAttachment]:
        query = query.order_by(MessageAttachment.message_id, MessageAttachment.position)
        return [TiedAttachment(message_id, attachment) for message_id, attachment in await self._session.execute(query)]


def _tied(user_id: UUID) -> Select[UUID, Attachment]:
    return (
        select(MessageAttachment.message_id, Attachment)
        .join(
            Attachment,
            (Attachment.user_id == MessageAttachment.user_id) & (Attachment.id == MessageAttachment.attachment_id),
        )
        .where(MessageAttachment.user_id == user_id)
    )


def _ties(attachment: Attachment) -> tuple[Any, ...]:
    return MessageAttachment.user_id == attachment.user_id, MessageAttachment.attachment_id == attachment.id


def _named(attachment: Attachment) -> BlobKeys:
    named = (attachment.blob_id, attachment.model_blob_id)
    return {(attachment.user_id, each) for each in named if each is not None}
