"""A chat turn's rows: few statements, plain columns, no objects to track."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Conversation, Message, MessageAttempt, UsageDaily, UsageEvent
from app.db.repositories.dialect import insert_or

_DAILY_KEY = ("user_id", "day", "model", "plan", "kind")


class Turns:
    """Writes ``messages``, ``message_attempts``, ``usage_events`` and ``usage_daily``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def activate(self, user_id: UUID, conversation_id: UUID, message_id: UUID, *, now: datetime) -> bool:
        """Make ``message_id`` the end of the active branch and move the conversation to the top of its owner's list.

        False if there is no such conversation any more. Until this transaction ends nobody can delete it.
        """
        found = await self._session.execute(
            update(Conversation)
            .where(Conversation.user_id == user_id, Conversation.id == conversation_id)
            .values(updated_at=now, active_message_id=message_id)
            .returning(Conversation.id)
            .execution_options(synchronize_session=False)
        )
        return found.first() is not None

    async def add_messages(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert messages in one statement; the rows name the same columns."""
        await self._session.execute(insert(Message).values([dict(row) for row in rows]))

    async def close_message(
        self, user_id: UUID, message_id: UUID, values: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write how a pending message ended, and its upstream calls. One deleted meanwhile stays deleted."""
        closed = await self._session.execute(
            update(Message)
            .where(Message.user_id == user_id, Message.id == message_id)
            .values(**values)
            .returning(Message.id)
            .execution_options(synchronize_session=False)
        )
        if closed.first() is not None and attempts:
            await self.add_attempts(attempts)

    async def add_attempts(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the upstream calls of a turn."""
        await self._session.execute(insert(MessageAttempt).values([dict(row) for row in rows]))

    async def add_usage_event(self, row: Mapping[str, Any]) -> None:
        """Append one line to the ledger."""
        await self._session.execute(insert(UsageEvent).values(**row))

    async def add_to_daily(self, row: Mapping[str, Any]) -> None:
        """Add one line's amounts to its day."""
        statement = insert_or(self._session, UsageDaily).values(**row)
        sums = {
            name: getattr(UsageDaily, name) + getattr(statement.excluded, name)
            for name in row
            if name not in _DAILY_KEY
        }
        await self._session.execute(statement.on_conflict_do_update(index_elements=list(_DAILY_KEY), set_=sums))
