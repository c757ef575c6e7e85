"""Bytes as objects in an S3 bucket, or in one of a server that speaks S3."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store

from app.blobs.chunks import READ_BYTES
from app.blobs.store import BlobKey, BlobMissing

if TYPE_CHECKING:
    from obstore import GetOptions  # only its description has it

PART_BYTES = 5 * 1024 * 1024
"""Larger objects are sent in parts of this size, the smallest that S3 takes: a few are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place:
    """Which bucket, and how to get in. Without an endpoint it is Amazon's."""

    bucket: str
    region: str
    access_key_id: str
    secret_access_key: str
    endpoint: str | None = None


class S3Blobs:
    """An object for each key."""

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._opened: S3Store | None = None

    async def put(self, key: BlobKey, chunks: AsyncIterator[bytes]) -> None:
        """Send the object; it is there when all of it is."""
        await obstore.put_async(self._store, key.path, chunks, chunk_size=PART_BYTES, max_concurrency=1)

    async def get(self, key: BlobKey, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Read the object as it comes."""
        if end is not None and end <= start:
            return
        options: GetOptions = {}
        if end is not None:
            options = {"range": (start, end)}
        elif start:
            options = {"range": {"offset": start}}
        try:
            found = await obstore.get_async(self._store, key.path, options=options)
        except FileNotFoundError:
            raise BlobMissing(key) from None
        async for chunk in found.stream(min_chunk_size=READ_BYTES):
            yield bytes(chunk)

    async def exists(self, key: BlobKey) -> bool:
        """Whether there is such an object."""
        try:
            await obstore.head_async(self._store, key.path)
        except FileNotFoundError:
            return False
        return True

    async def delete(self, key: BlobKey) -> None:
        """Remove the object."""
        try:
            await obstore.delete_async(self._store, key.path)
        except FileNotFoundError:
            return

    def sign(self, key: BlobKey, *, seconds: int) -> str:
        """An address under which anybody can read the object for so long. Nothing is asked for it."""
        signed: str = obstore.sign(self._store, "GET", key.path, timedelta(seconds=seconds))
        return signed

    async def aclose(self) -> None:
        """Let go of the connections."""
        self._opened = None

    @property
    def _store(self) -> S3Store:
        if self._opened is None:
            place = self._place
            self._opened = S3Store(
                place.bucket,
                endpoint=place.endpoint,
                region=place.region,
                access_key_id=place.access_key_id,
                secret_access_key=place.secret_access_key,
                virtual_hosted_style_request=place.endpoint is None,
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
                client_options={"allow_http": place.endpoint is not None, "timeout": "60s", "connect_timeout": "10s"},
            )
        return self._opened
