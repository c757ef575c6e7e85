"""Conversations written straight into the database, for tests that need long ones."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, update

from app.core.ids import new_id
from app.db.database import Database
from app.db.models import Conversation, Message, User
from app.domain.principal import Role


async def begin(database: Database) -> tuple[UUID, UUID]:
    """Somebody, and an empty conversation of theirs."""
    now = datetime.now(UTC)
    user_id, conversation_id = new_id(), new_id()
    account = User(
        id=user_id,
        email=f"{user_id.hex}@example.com",
        password_hash="x",
        role=Role.USER,
        is_active=True,
        created_at=now,
        updated_at=now,
    )
    async with database.unit_of_work() as uow:
        uow.accounts.add(account)
        await uow.flush()
        uow.conversations.add(
            Conversation(user_id=user_id, id=conversation_id, mode="standard", created_at=now, updated_at=now)
        )
        await uow.commit()
    return user_id, conversation_id


async def add_branch(
    database: Database,
    user_id: UUID,
    conversation_id: str | UUID,
    *,
    messages: int,
    after: UUID | None = None,
    text: str = "Message",
    depth: int = 0,
    tokens_each: int = 10,
) -> list[UUID]:
    """Questions and answers in turn behind ``after``; the last one is the active message. Their ids in order.

    ``depth`` is that of the first one; each counts as ``tokens_each`` tokens.
    """
    conversation_id, now = UUID(str(conversation_id)), datetime.now(UTC)
    ids = [new_id() for _ in range(messages)]
    rows: list[dict[str, Any]] = [
        {
            "user_id": user_id,
            "id": message_id,
            "conversation_id": conversation_id,
            "parent_id": ids[index - 1] if index else after,
            "role": "assistant" if index % 2 else "user",
            "status": "completed",
            "content": f"{text} {index}",
            "created_at": now,
            "is_provisional": False,
            "depth": depth + index,
            "tokens_before": (depth + index) * tokens_each,
        }
        for index, message_id in enumerate(ids)
    ]
    async with database.unit_of_work() as uow:
        await uow._session.execute(insert(Message), rows)
        await uow._session.execute(
            update(Conversation).where(Conversation.id == conversation_id).values(active_message_id=ids[-1])
        )
        await uow.commit()
    return ids
