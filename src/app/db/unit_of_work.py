"""One transaction: leaving the block without ``commit()`` rolls back."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.repositories.accounts import Accounts
from app.db.repositories.audit import AuditLog
from app.db.repositories.bills import Bills
from app.db.repositories.conversations import Conversations
from app.db.repositories.directory import Directory
from app.db.repositories.idempotency import IdempotencyKeys
from app.db.repositories.ledger import Ledger
from app.db.repositories.overrides import Overrides
from app.db.repositories.presets import Presets
from app.db.repositories.quotas import Quotas
from app.db.repositories.subscriptions import Subscriptions
from app.db.repositories.turns import Turns


class UnitOfWork:
    """A session with the repositories that share its transaction."""

    def __init__(
        self,
        session: AsyncSession,
        *,
        turn: asyncio.Lock | None = None,
        execution_options: Mapping[str, Any] | None = None,
    ) -> None:
        """``turn`` is held while the block lasts: where only one may write at a time, the others wait for it."""
        self._session = session
        self._turn = turn
        self._execution_options = dict(execution_options or {})
        self.accounts = Accounts(session)
        self.audit = AuditLog(session)
        self.bills = Bills(session)
        self.conversations = Conversations(session)
        self.directory = Directory(session)
        self.idempotency = IdempotencyKeys(session)
        self.overrides = Overrides(session)
        self.ledger = Ledger(session)
        self.presets = Presets(session)
        self.quotas = Quotas(session)
        self.subscriptions = Subscriptions(session)
        self.turns = Turns(session)

    async def __aenter__(self) -> Self:
        if self._turn is not None:
            await self._turn.acquire()
        if self._execution_options:
            await self._session.connection(execution_options=self._execution_options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._session.close()
        finally:
            if self._turn is not None:
                self._turn.release()

    async def commit(self) -> None:
        """Make everything in this block durable."""
        await self._session.commit()

    async def flush(self) -> None:
        """Send pending rows now, so that a broken constraint shows here."""
        await self._session.flush()
