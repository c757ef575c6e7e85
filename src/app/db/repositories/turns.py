"""A chat turn's rows: few statements, plain columns, no objects to track."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import (
    AnswerFact,
    AnswerTally,
    Message,
    MessageAttempt,
    SystemUsage,
    UnbilledCall,
    UsageDaily,
    UsageEvent,
    UsageMonthly,
)
from app.db.repositories.closings import Entries
from app.db.repositories.dialect import insert_or
from app.domain.ledger import BITS, DAILY_KEY, MONTH_KEY
from app.domain.rollups import SYSTEM_KEY, TALLY_KEY


class Turns:
    """Writes what became of ``messages``, ``message_attempts``, the ledger, and the sums of it."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

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

    async def keep_partial_text(self, user_id: UUID, message_id: UUID, text: str) -> None:
        """What an answer that is being written has shown so far; one that has ended stays as it is."""
        await self._session.execute(
            update(Message)
            .where(Message.user_id == user_id, Message.id == message_id, Message.status == "pending")
            .values(content=text)
            .execution_options(synchronize_session=False)
        )

    async def renew_cached_call(self, user_id: UUID, message_id: UUID, cache_prefix: bytes) -> None:
        """Write down anew what an answer's call left in a cache: it was used since."""
        await self._session.execute(
            update(MessageAttempt)
            .where(
                MessageAttempt.user_id == user_id,
                MessageAttempt.message_id == message_id,
                MessageAttempt.cache_prefix.is_not(None),
            )
            .values(cache_prefix=cache_prefix)
            .execution_options(synchronize_session=False)
        )

    async def add_attempts(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the upstream calls of a turn."""
        await self._session.execute(insert(MessageAttempt).values([dict(row) for row in rows]))

    async def add_to_books(self, entries: Entries) -> None:
        """Append to the ledger and add to the sums; the house's come last, since others wait for them."""
        for row in entries.ledger:
            await self._session.execute(insert(UsageEvent).values(**row))
        for row in entries.unbilled:
            await self._session.execute(insert(UnbilledCall).values(**row))
        for row in entries.facts:
            await self._session.execute(insert(AnswerFact).values(**row))
        for table, key, rows in (
            (UsageDaily, DAILY_KEY, entries.daily),
            (UsageMonthly, MONTH_KEY, entries.monthly),
            (SystemUsage, SYSTEM_KEY, entries.system),
            (AnswerTally, TALLY_KEY, entries.tallies),
        ):
            for row in rows:
                await self._add_up(table, key, row)

    async def _add_up(self, table: type[Any], key: tuple[str, ...], row: Mapping[str, Any]) -> None:
        statement = insert_or(self._session, table).values(**row)
        columns = table.__table__.c
        sums = {
            name: columns[name].bitwise_or(statement.excluded[name])
            if name in BITS
            else columns[name] + statement.excluded[name]
            for name in row
            if name not in key
        }
        await self._session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=sums))
