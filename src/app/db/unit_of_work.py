"""One transaction: leaving the block without ``commit()`` rolls back."""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self

from sqlalchemy.exc import TimeoutError as WaitedTooLong
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from app.db.repositories.accounts import Accounts
from app.db.repositories.analytics import Analytics
from app.db.repositories.attachments import Attachments
from app.db.repositories.audit import AuditLog
from app.db.repositories.bills import Bills
from app.db.repositories.blob_chunks import BlobChunks
from app.db.repositories.blobs import Blobs
from app.db.repositories.branches import Branches
from app.db.repositories.cache_stats import CacheStats
from app.db.repositories.closings import Closings
from app.db.repositories.conversations import Conversations
from app.db.repositories.directory import Directory
from app.db.repositories.generated_images import GeneratedImages
from app.db.repositories.idempotency import IdempotencyKeys
from app.db.repositories.ledger import Ledger
from app.db.repositories.openings import Openings
from app.db.repositories.overrides import Overrides
from app.db.repositories.parsed_files import ParsedFiles
from app.db.repositories.presets import Presets
from app.db.repositories.principals import Principals
from app.db.repositories.quotas import Quotas
from app.db.repositories.rollups import Rollups
from app.db.repositories.subscriptions import Subscriptions
from app.db.repositories.turns import Turns

PATIENCE_SECONDS = 30.0
"""How long somebody waits for the others before the database counts as stuck."""


class Turn(Protocol):
    """Something that only so many may have at once, such as a lock or a semaphore."""

    def locked(self) -> bool:
        """Whether one has to wait for it."""
        ...

    async def acquire(self) -> object:
        """Wait for it."""
        ...

    def release(self) -> None:
        """Give it to the next one."""
        ...


class UnitOfWork:
    """A connection with the repositories that share its transaction."""

    def __init__(
        self, engine: AsyncEngine, *, turn: Turn | None = None, execution_options: Mapping[str, Any] | None = None
    ) -> None:
        """``turn`` is held while the block lasts: whoever finds none left waits for it, first come first served."""
        self._engine = engine
        self._turn = turn
        self._execution_options = execution_options
        self._opened: AsyncConnection | None = None

    @cached_property
    def accounts(self) -> Accounts:
        """``users`` and ``refresh_tokens``."""
        return Accounts(self._session)

    @cached_property
    def analytics(self) -> Analytics:
        """What charts read."""
        return Analytics(self._session)

    @cached_property
    def attachments(self) -> Attachments:
        """``attachments``, and the messages they stand beside."""
        return Attachments(self._session)

    @cached_property
    def audit(self) -> AuditLog:
        """``audit_log``."""
        return AuditLog(self._session)

    @cached_property
    def bills(self) -> Bills:
        """``unbilled_calls``, and what late bills complete."""
        return Bills(self._session)

    @cached_property
    def blob_chunks(self) -> BlobChunks:
        """``blob_chunks``."""
        return BlobChunks(self._connection)

    @cached_property
    def blobs(self) -> Blobs:
        """``blobs``."""
        return Blobs(self._session)

    @cached_property
    def branches(self) -> Branches:
        """``messages`` along their parents."""
        return Branches(self._connection)

    @cached_property
    def cache_stats(self) -> CacheStats:
        """What caching did in ``messages``, added up."""
        return CacheStats(self._session)

    @cached_property
    def closings(self) -> Closings:
        """All that a whole answer leaves behind, in one go."""
        return Closings(self._connection)

    @cached_property
    def conversations(self) -> Conversations:
        """``conversations`` and their ``messages``, as their owner reads them."""
        return Conversations(self._session)

    @cached_property
    def directory(self) -> Directory:
        """Accounts with their plans, for operators."""
        return Directory(self._session)

    @cached_property
    def idempotency(self) -> IdempotencyKeys:
        """``idempotency_keys``."""
        return IdempotencyKeys(self._session)

    @cached_property
    def images(self) -> GeneratedImages:
        """``generated_images``."""
        return GeneratedImages(self._session)

    @cached_property
    def ledger(self) -> Ledger:
        """``usage_events`` and what follows from them."""
        return Ledger(self._session)

    @cached_property
    def openings(self) -> Openings:
        """What a turn has to know, and what it writes, when it opens."""
        return Openings(self._connection)

    @cached_property
    def overrides(self) -> Overrides:
        """``plan_overrides``."""
        return Overrides(self._session)

    @cached_property
    def parsed_files(self) -> ParsedFiles:
        """``parsed_files``."""
        return ParsedFiles(self._session)

    @cached_property
    def presets(self) -> Presets:
        """``model_presets``."""
        return Presets(self._session)

    @cached_property
    def principals(self) -> Principals:
        """``users`` as callers."""
        return Principals(self._connection)

    @cached_property
    def quotas(self) -> Quotas:
        """``monthly_usage_quotas`` and ``quota_leases``."""
        return Quotas(self._session)

    @cached_property
    def rollups(self) -> Rollups:
        """The house's sums."""
        return Rollups(self._session)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """``subscriptions``, and the plans they name."""
        return Subscriptions(self._session)

    @cached_property
    def turns(self) -> Turns:
        """A chat turn's rows."""
        return Turns(self._session)

    async def __aenter__(self) -> Self:
        if self._turn is not None:
            await _wait_for(self._turn)
        try:
            self._opened = await self._engine.connect()
            if self._execution_options:
                await self._opened.execution_options(**self._execution_options)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def commit(self) -> None:
        """Make everything in this block durable."""
        if "_session" in self.__dict__:
            await self._session.commit()  # sends what is pending; the transaction is the connection's
        await self._connection.commit()

    async def flush(self) -> None:
        """Send pending rows now, so that a broken constraint shows here."""
        await self._session.flush()

    @cached_property
    def _session(self) -> AsyncSession:
        # Made for those who ask for it: a turn needs no objects, and keeping track of them costs more than its SQL.
        return AsyncSession(self._connection, expire_on_commit=False)

    @property
    def _connection(self) -> AsyncConnection:
        if self._opened is None:
            raise RuntimeError("enter the unit of work first")
        return self._opened

    async def _leave(self) -> None:
        connection, self._opened = self._opened, None
        try:
            if "_session" in self.__dict__:
                await self._session.close()
            if connection is not None:
                await connection.close()
        finally:
            if self._turn is not None:
                self._turn.release()


async def _wait_for(turn: Turn) -> None:
    if not turn.locked():
        await turn.acquire()
        return
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await turn.acquire()
    except TimeoutError as error:
        raise WaitedTooLong(f"No database connection was free for {PATIENCE_SECONDS:.0f} seconds.") from error
