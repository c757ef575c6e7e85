"""What every store of bytes can do. Bytes come and go in chunks, so that no file is ever whole in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class StorageKind(StrEnum):
    """The kinds of stores there are."""

    DATABASE = "database"
    LOCAL = "local"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class BlobKey:
    """The name of some bytes. Made anew for each time that something is stored: no key is ever written twice."""

    user_id: UUID
    id: UUID

    @property
    def path(self) -> str:
        """The key as a path of hex digits; its folders keep about as many files each."""
        return f"{self.user_id.hex}/{self.id.hex[-2:]}/{self.id.hex}"


class BlobMissing(Exception):
    """Nothing is stored under this key."""

    def __init__(self, key: BlobKey) -> None:
        super().__init__(f"no blob {key.id} of user {key.user_id}")
        self.key = key


class BlobStore(Protocol):
    """A place for bytes."""

    async def put(self, key: BlobKey, chunks: AsyncIterator[bytes]) -> None:
        """Store all chunks, durably. Breaking off leaves nothing to read, though perhaps something to delete."""
        ...

    def get(self, key: BlobKey, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, not including, ``end``; raises :class:`BlobMissing` at the first chunk."""
        ...

    async def exists(self, key: BlobKey) -> bool:
        """Whether something whole is stored."""
        ...

    async def delete(self, key: BlobKey) -> None:
        """Remove it, and what a broken off ``put`` left; nothing there is fine."""
        ...

    async def aclose(self) -> None:
        """Let go of connections; a later use connects anew."""
        ...
