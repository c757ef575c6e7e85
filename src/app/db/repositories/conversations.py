"""Conversations and their messages, as their owner reads them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound
from app.db.models import Conversation, Message


@dataclass(frozen=True, slots=True)
class ConversationPosition:
    """Where a page of the list ends: the next one starts behind it."""

    updated_at: datetime
    conversation_id: UUID


class Conversations:
    """Reads and writes ``conversations``; reads ``messages``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation: Conversation) -> Conversation:
        """Add a conversation."""
        self._session.add(conversation)
        return conversation

    async def require(self, user_id: UUID, conversation_id: UUID, *, for_update: bool = False) -> Conversation:
        """The owner's conversation; raises :class:`NotFound`. ``for_update`` lets nobody delete it meanwhile."""
        key = (user_id, conversation_id)
        conversation = await self._session.get(Conversation, key, with_for_update=for_update)
        if conversation is None:
            raise NotFound(f"No conversation {str(conversation_id)!r}.")
        return conversation

    async def list_existing(self, keys: Collection[tuple[UUID, UUID]]) -> set[UUID]:
        """Which of these conversations (user, conversation) there still are."""
        query = select(Conversation.id).where(tuple_(Conversation.user_id, Conversation.id).in_(keys))
        return set((await self._session.scalars(query)).all())

    async def list_page(
        self,
        user_id: UUID,
        *,
        limit: int,
        after: ConversationPosition | None,
        patterns: Sequence[str] = (),
    ) -> Sequence[Conversation]:
        """At most ``limit`` conversations, the one talked in last first, behind ``after``.

        With ``patterns`` those whose title, or one of whose messages, matches all of them.
        """
        query = select(Conversation).where(Conversation.user_id == user_id)
        if after is not None:
            position = tuple_(Conversation.updated_at, Conversation.id)
            query = query.where(position < (after.updated_at, after.conversation_id))
        if patterns:
            query = query.where(_holds(user_id, patterns))
        query = query.order_by(Conversation.updated_at.desc(), Conversation.id.desc()).limit(limit)
        return (await self._session.scalars(query)).all()

    async def require_answer(self, user_id: UUID, message_id: UUID) -> Message:
        """One of the owner's answers; raises :class:`NotFound`."""
        message = await self._session.get(Message, (user_id, message_id))
        if message is None or message.role != "assistant":
            raise NotFound(f"No answer {str(message_id)!r}.")
        return message

    async def list_first_messages(self, user_id: UUID, conversation_id: UUID, *, limit: int) -> Sequence[Message]:
        """How a conversation began: the first messages that hold text."""
        query = (
            select(Message)
            .where(
                Message.user_id == user_id,
                Message.conversation_id == conversation_id,
                Message.content != "",
                Message.role != "summary",
            )
            .order_by(Message.id)
            .limit(limit)
        )
        return (await self._session.scalars(query)).all()

    async def replace_title(self, user_id: UUID, conversation_id: UUID, *, before: str | None, title: str) -> bool:
        """Set the title if it is still ``before``; false if somebody has changed it, or deleted the conversation."""
        replaced = await self._session.execute(
            update(Conversation)
            .where(
                Conversation.user_id == user_id,
                Conversation.id == conversation_id,
                Conversation.title.is_not_distinct_from(before),
            )
            .values(title=title)
            .returning(Conversation.id)
            .execution_options(synchronize_session=False)
        )
        return replaced.first() is not None

    async def delete(self, user_id: UUID, conversation_id: UUID) -> None:
        """Delete a conversation with everything under it; raises :class:`NotFound`."""
        deleted = await self._session.execute(
            delete(Conversation)
            .where(Conversation.user_id == user_id, Conversation.id == conversation_id)
            .returning(Conversation.id)
            .execution_options(synchronize_session=False)
        )
        if deleted.first() is None:
            raise NotFound(f"No conversation {str(conversation_id)!r}.")


def _holds(user_id: UUID, patterns: Sequence[str]) -> ColumnElement[bool]:
    in_title = and_(*(Conversation.title.regexp_match(each) for each in patterns))
    # The owner is named, not taken from the conversation: however this is planned, nobody else's rows are looked at.
    # One row that is there or is not, rather than EXISTS: that PostgreSQL may answer for all conversations at first.
    in_message = (
        select(Message.id)
        .where(
            Message.user_id == user_id,
            Message.conversation_id == Conversation.id,
            Message.role != "summary",
            *(Message.content.regexp_match(each) for each in patterns),
        )
        .limit(1)
        .scalar_subquery()
    )
    return or_(in_title, in_message.is_not(None))
