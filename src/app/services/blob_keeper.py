"""Bytes of people's files: one copy for each account and content, in the store that the settings name."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from typing import BinaryIO
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.blobs.chunks import file_chunks
from app.blobs.local import LocalBlobs
from app.blobs.s3 import S3Blobs, S3Place
from app.blobs.store import BlobKey, BlobMissing, BlobStore, StorageKind
from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import ServiceUnavailable
from app.core.ids import new_id
from app.db.blob_store import DatabaseBlobs
from app.db.database import Database, database
from app.db.models import Blob
from app.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

ARRIVES_WITHIN = timedelta(hours=1)
"""Bytes that take longer than this to be stored belong to a process that is gone."""
BATCH = 100
_TRIAL = b"a file to try the store with"


class StorageUnavailable(ServiceUnavailable):
    """The store of these bytes cannot be reached, or is not configured any more."""

    code = "storage_unavailable"


@dataclass(frozen=True, slots=True)
class Content:
    """Some bytes by their hash, in a file that is open."""

    file: BinaryIO
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Download:
    """A file to show: its bytes from one place to another are read as they are asked for."""

    name: str
    media_type: str
    sha256: str
    size_bytes: int
    read: Callable[[int, int | None], AsyncIterator[bytes]]


class BlobKeeper:
    """Stores, reads and removes bytes, and keeps book of them in ``blobs``."""

    def __init__(self, *, settings: Callable[[], Settings], database: Database, clock: Clock = utc_now) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._stores: dict[StorageKind, BlobStore] = {}

    async def keep(self, user_id: UUID, content: Content) -> Blob:
        """Have the content in a store: the copy there is, else a new one, still ``arriving``, for :meth:`settle`."""
        async with self._database.read_only() as uow:
            found = await uow.blobs.get_stored(user_id, content.sha256)
        if found is not None:
            return found
        blob = Blob(
            user_id=user_id,
            id=new_id(),
            sha256=content.sha256,
            size_bytes=content.size_bytes,
            storage=self._settings().image_storage_type,
            state="arriving",
            changed_at=self._clock(),
        )
        async with self._database.unit_of_work() as uow:
            uow.blobs.add(blob)
            await uow.commit()
        try:
            await self._store_of(blob).put(_key(blob), file_chunks(content.file))
        except BaseException as error:
            await self.discard(blob)
            if not isinstance(error, Exception):
                raise
            log.error("blob.not_stored", storage=blob.storage, kind=type(error).__name__)
            raise StorageUnavailable("The file could not be stored. Try again in a moment.") from error
        return blob

    async def settle(self, uow: UnitOfWork, blob: Blob) -> Blob | None:
        """Make a kept blob ``stored``, within the transaction that names it; the one to name.

        That is the other one where somebody was quicker with the same content; ``None`` where it has left meanwhile:
        keep it again. The caller holds the account's lock.
        """
        stored = await uow.blobs.get_stored(blob.user_id, blob.sha256, for_update=True)
        if stored is not None:
            if stored.id != blob.id:
                await uow.blobs.mark(blob.user_id, blob.id, "leaving", now=self._clock())
            return stored
        if blob.state != "arriving":
            return None
        await uow.blobs.mark(blob.user_id, blob.id, "stored", now=self._clock())
        return blob

    async def discard(self, blob: Blob) -> None:
        """Let go of a blob that was kept for nothing; one that is stored stays, whoever stored it."""
        if blob.state == "arriving":
            await asyncio.shield(asyncio.ensure_future(self._give_up(blob)))

    def read(self, blob: Blob, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``end``, in chunks; raises :class:`StorageUnavailable` before the first."""
        return self._read(blob, start, end)

    async def _read(self, blob: Blob, start: int, end: int | None) -> AsyncIterator[bytes]:
        has_begun = False
        try:
            async for chunk in self._store_of(blob).get(_key(blob), start=start, end=end):
                has_begun = True
                yield chunk
        except Exception as error:
            if has_begun or isinstance(error, StorageUnavailable):
                raise
            log.error("blob.not_read", storage=blob.storage, blob_id=str(blob.id), kind=type(error).__name__)
            missing = isinstance(error, BlobMissing)
            raise StorageUnavailable(
                "The stored file is missing." if missing else "The stored file cannot be read now."
            ) from error

    def sign(self, blob: Blob, *, seconds: int) -> str | None:
        """An address under which the bytes can be read for so long; ``None`` where their store has none to give."""
        if blob.storage != StorageKind.S3:
            return None
        try:
            store = self._store_of(blob)
        except StorageUnavailable:  # its bucket is configured no more: the API says so to who asks for the bytes
            return None
        return store.sign(_key(blob), seconds=seconds) if isinstance(store, S3Blobs) else None

    async def read_whole(self, user_id: UUID, blob_id: UUID, *, at_most: int) -> bytes:
        """All bytes of one of an account's blobs, for a request that needs them at once.

        Raises :class:`StorageUnavailable`, also for a blob that is gone, and ``ValueError`` for more than ``at_most``.
        """
        async with self._database.read_only() as uow:
            blob = await uow.blobs.get(user_id, blob_id)
        if blob is None:
            raise StorageUnavailable("The stored file is missing.")
        if blob.size_bytes > at_most:
            raise ValueError(f"the blob has {blob.size_bytes} bytes, more than {at_most}")
        return b"".join([chunk async for chunk in self._read(blob, 0, None)])

    async def remove_leaving(self) -> int:
        """Remove bytes that nothing names, and those that never arrived whole; how many, at most a batch."""
        async with self._database.read_only() as uow:
            due = await uow.blobs.list_removable(arriving_before=self._clock() - ARRIVES_WITHIN, limit=BATCH)
        removed = [await self._remove_safely(blob) for blob in due]
        return sum(removed)

    async def try_store(self) -> None:
        """Store, read and remove a few bytes where new files go; raises whatever the store does."""
        key, store = BlobKey(UUID(int=0), new_id()), self._store(StorageKind(self._settings().image_storage_type))
        try:
            await store.put(key, file_chunks(BytesIO(_TRIAL)))
            if b"".join([chunk async for chunk in store.get(key)]) != _TRIAL:
                raise OSError("what was stored comes back as something else")
        finally:
            await store.delete(key)

    async def aclose(self) -> None:
        """Close the stores; a later use opens them anew."""
        stores, self._stores = self._stores, {}
        for store in stores.values():
            await store.aclose()

    async def _give_up(self, blob: Blob) -> None:
        try:
            async with self._database.unit_of_work() as uow:
                is_given_up = await uow.blobs.give_up(blob.user_id, blob.id, now=self._clock())
                await uow.commit()
        except SQLAlchemyError as error:  # the collector finds it
            log.error("blob.not_given_up", blob_id=str(blob.id), kind=type(error).__name__)
            return
        if is_given_up:
            await self._remove_safely(blob)

    async def _remove_safely(self, blob: Blob) -> bool:
        try:
            await self._store_of(blob).delete(_key(blob))
            async with self._database.unit_of_work() as uow:
                await uow.blobs.remove(blob.user_id, blob.id)
                await uow.commit()
        except Exception as error:  # it is still in the book: the next round tries again
            log.error("blob.not_removed", storage=blob.storage, blob_id=str(blob.id), kind=type(error).__name__)
            return False
        return True

    def _store_of(self, blob: Blob) -> BlobStore:
        return self._store(StorageKind(blob.storage))

    def _store(self, kind: StorageKind) -> BlobStore:
        if kind not in self._stores:
            self._stores[kind] = self._open(kind)
        return self._stores[kind]

    def _open(self, kind: StorageKind) -> BlobStore:
        settings = self._settings()
        if kind is StorageKind.DATABASE:
            return DatabaseBlobs(self._database)
        if kind is StorageKind.LOCAL:
            return LocalBlobs(settings.image_storage_path or settings.data_dir / "blobs")
        key, secret = settings.image_s3_access_key_id, settings.image_s3_secret_access_key
        if not (settings.image_s3_bucket and key and secret):
            raise StorageUnavailable("The file lies in a bucket that this server has no settings for any more.")
        endpoint = settings.image_s3_endpoint
        place = S3Place(
            bucket=settings.image_s3_bucket,
            region=settings.image_s3_region,
            access_key_id=key.get_secret_value(),
            secret_access_key=secret.get_secret_value(),
            endpoint=str(endpoint).rstrip("/") if endpoint else None,
        )
        return S3Blobs(place)


def _key(blob: Blob) -> BlobKey:
    return BlobKey(blob.user_id, blob.id)


blob_keeper = BlobKeeper(settings=get_settings, database=database)
