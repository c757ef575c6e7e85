"""Keeps the leases of this process's running turns alive: one statement for all, every third of a lease's life."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.db.database import Database, database
from app.services.quota_service import Lease, QuotaService, quota_service

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Beats while there is something to keep alive."""

    def __init__(
        self, *, settings: Callable[[], Settings], database: Database, quotas: QuotaService, clock: Clock = utc_now
    ) -> None:
        self._settings = settings
        self._database = database
        self._quotas = quotas
        self._clock = clock
        self._kept: set[tuple[UUID, UUID]] = set()
        self._beating: asyncio.Task[None] | None = None

    @contextmanager
    def keep(self, lease: Lease) -> Iterator[None]:
        """Keep a lease alive until the block ends."""
        key = (lease.user_id, lease.id)
        self._kept.add(key)
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat(), name="lease heartbeat")
        try:
            yield
        finally:
            self._kept.discard(key)

    async def aclose(self) -> None:
        """Stop beating; leases end by themselves then."""
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def _beat(self) -> None:
        while self._kept:
            await asyncio.sleep(self._settings().quota_lease_seconds / 3)
            kept = list(self._kept)
            if not kept:
                return
            try:
                async with self._database.unit_of_work() as uow:
                    now = self._clock()  # not before its turn came: what ran out while it waited stays so
                    await uow.quotas.extend_leases(kept, now=now, until=self._quotas.lease_end(now))
                    await uow.commit()
            except (SQLAlchemyError, OSError):
                log.warning("leases.heartbeat_failed", leases=len(kept))


lease_keeper = LeaseKeeper(settings=get_settings, database=database, quotas=quota_service)
