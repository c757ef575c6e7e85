"""Keys under which clients repeat a request."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import IdempotencyKey, Message
from app.db.repositories.dialect import insert_or


class IdempotencyKeys:
    """Reads and writes ``idempotency_keys``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def claim(
        self, user_id: UUID, key: str, *, fingerprint: bytes, message_id: UUID, now: datetime
    ) -> IdempotencyKey | None:
        """Take the key for ``message_id``; if it is taken, what for. Waits for the commit of a rival."""
        statement = (
            insert_or(self._session, IdempotencyKey)
            .values(user_id=user_id, key=key, fingerprint=fingerprint, message_id=message_id, created_at=now)
            .on_conflict_do_nothing()
            .returning(IdempotencyKey.key)
        )
        while (await self._session.execute(statement)).first() is None:
            taken = await self.get(user_id, key)
            if taken is not None:
                return taken
        return None

    async def get(self, user_id: UUID, key: str) -> IdempotencyKey | None:
        """What a key stands for; ``None`` if it is free."""
        return await self._session.get(IdempotencyKey, (user_id, key), populate_existing=True)

    async def keep_reply(self, user_id: UUID, key: str, message_id: UUID, reply: str) -> None:
        """Store the answer, to be given again."""
        await self._session.execute(
            update(IdempotencyKey)
            .where(
                IdempotencyKey.user_id == user_id, IdempotencyKey.key == key, IdempotencyKey.message_id == message_id
            )
            .values(reply=reply)
            .execution_options(synchronize_session=False)
        )

    async def forget_unanswered(self, user_id: UUID, message_id: UUID) -> None:
        """Free the key whose request had no effect, if there is one: it may be tried again."""
        await self._session.execute(
            delete(IdempotencyKey)
            .where(
                IdempotencyKey.user_id == user_id,
                IdempotencyKey.message_id == message_id,
                IdempotencyKey.reply.is_(None),
            )
            .execution_options(synchronize_session=False)
        )

    async def list_of_conversation(self, user_id: UUID, conversation_id: UUID) -> Sequence[str]:
        """The keys under which the answers of a conversation were asked for."""
        query = (
            select(IdempotencyKey.key)
            .join(Message, (Message.user_id == IdempotencyKey.user_id) & (Message.id == IdempotencyKey.message_id))
            .where(IdempotencyKey.user_id == user_id, Message.conversation_id == conversation_id)
        )
        return (await self._session.scalars(query)).all()

    async def forget(self, user_id: UUID, keys: Sequence[str]) -> None:
        """Free these keys, and forget what was answered under them."""
        await self._session.execute(
            delete(IdempotencyKey)
            .where(IdempotencyKey.user_id == user_id, IdempotencyKey.key.in_(keys))
            .execution_options(synchronize_session=False)
        )

    async def forget_older_than(self, instant: datetime) -> None:
        """Free keys nobody will repeat any more."""
        await self._session.execute(
            delete(IdempotencyKey)
            .where(IdempotencyKey.created_at < instant)
            .execution_options(synchronize_session=False)
        )
