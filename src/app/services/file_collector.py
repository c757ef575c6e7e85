"""What nobody needs any more of people's files is removed: a bounded bit at a time, in every process."""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog

from app.core.clock import Clock, utc_now
from app.db.database import Database, database
from app.services.blob_keeper import BlobKeeper, blob_keeper

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 60.0
UNSENT_FOR = timedelta(days=1)
"""How long a file is kept that was never sent with a question."""
BATCH = 100
SWEPT = 500
"""How many blobs are looked at in a round, whether anything names them."""


class FileCollector:
    """Files that were never sent, blobs that nothing names, and bytes that are on their way out."""

    def __init__(self, *, database: Database, blobs: BlobKeeper, clock: Clock = utc_now) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._swept_to: tuple[UUID, UUID] | None = None

    async def run_forever(self) -> None:
        """Collect until cancelled; the app's lifespan runs and ends this."""
        while True:
            try:
                await self.run_once()
            except Exception:  # whatever it was: the next round must come
                log.exception("file_collector.failed")
            await asyncio.sleep(INTERVAL_SECONDS)

    async def run_once(self) -> None:
        """A batch of everything that is due."""
        await self._forget_unsent()
        await self._release_unnamed()
        removed = await self._blobs.remove_leaving()
        if removed:
            log.info("file_collector.removed", blobs=removed)

    async def _forget_unsent(self) -> None:
        now = self._clock()
        async with self._database.read_only() as uow:
            forgotten = await uow.attachments.list_forgotten(before=now - UNSENT_FOR, limit=BATCH)
        if not forgotten:
            return
        async with self._database.unit_of_work() as uow:
            named = await uow.attachments.delete_untied(forgotten)
            await uow.blobs.release(named, now=now)
            await uow.commit()

    async def _release_unnamed(self) -> None:
        """Walk on through all blobs: an account that was removed leaves some without a file."""
        async with self._database.read_only() as uow:
            swept = await uow.blobs.list_behind(self._swept_to, limit=SWEPT)
        self._swept_to = swept[-1].key if len(swept) == SWEPT else None
        unnamed = [each.key for each in swept if not each.is_needed]
        if unnamed:
            async with self._database.unit_of_work() as uow:
                await uow.blobs.release(unnamed, now=self._clock())
                await uow.commit()


file_collector = FileCollector(database=database, blobs=blob_keeper)
