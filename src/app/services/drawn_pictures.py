"""Pictures that models drew: looked at by a process of their own, and kept with a small copy."""

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID

import structlog

from app.blobs.chunks import file_chunks
from app.core.config import Settings, get_settings
from app.db.models import Blob
from app.db.unit_of_work import UnitOfWork
from app.media.inspector import Findings, Inspector, ReadersBusy
from app.media.refusals import Refused
from app.services.blob_keeper import BlobKeeper, Content, StorageUnavailable, blob_keeper

log = structlog.get_logger(__name__)

MOST_PIXELS = 50_000_000
BUSY_TRIES = 5
"""How often a picture waits for its turn to be looked at, each time as long as an upload would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPicture:
    """A picture whose bytes lie in a store; nothing names them yet."""

    blob: Blob
    thumbnail: Blob
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SettledPicture:
    """A kept picture with the blobs to name: perhaps older ones with the same bytes."""

    picture: KeptPicture
    blob: Blob
    thumbnail: Blob


class DrawnPictures:
    """Keeps what is a picture; what only claims to be one is left out."""

    def __init__(
        self, *, settings: Callable[[], Settings], blobs: BlobKeeper, inspector: Callable[[], Inspector] | None = None
    ) -> None:
        self._settings = settings
        self._blobs = blobs
        self._make_inspector = inspector or (lambda: Inspector(settings().upload_folder))
        self._inspector: Inspector | None = None

    async def keep(self, user_id: UUID, pictures: Sequence[bytes]) -> list[KeptPicture]:
        """Store those that can be decoded; raises ``StorageUnavailable``, and keeps nothing then."""
        kept: list[KeptPicture] = []
        try:
            for picture in pictures:
                found = await self._keep(user_id, picture)
                if found is not None:
                    kept.append(found)
        except BaseException:
            await self.discard(kept)
            raise
        return kept

    async def settle(self, uow: UnitOfWork, pictures: Sequence[KeptPicture]) -> list[SettledPicture] | None:
        """Have the bytes stay, within the transaction that names them; ``None``: some have left, keep them again."""
        settled = []
        for picture in pictures:
            blob = await self._blobs.settle(uow, picture.blob)
            thumbnail = await self._blobs.settle(uow, picture.thumbnail)
            if blob is None or thumbnail is None:
                return None
            settled.append(SettledPicture(picture, blob, thumbnail))
        return settled

    async def discard(self, pictures: Sequence[KeptPicture]) -> None:
        """Let go of pictures that nothing came to name; those that are named stay."""
        for picture in pictures:
            await self._blobs.discard(picture.blob)
            await self._blobs.discard(picture.thumbnail)

    async def _keep(self, user_id: UUID, picture: bytes) -> KeptPicture | None:
        inspector = self._inspector_now
        with inspector.temporary_file() as file, inspector.temporary_file() as small:
            await asyncio.to_thread(_write, file, picture)
            try:
                found = await _patiently(lambda: inspector.inspect_drawn(file, most=MOST_PIXELS, thumbnail=small))
            except Refused as refused:
                log.warning("image.not_a_picture", bytes=len(picture), reason=refused.why)
                return None
            content = Content(io.BytesIO(picture), hashlib.sha256(picture).hexdigest(), len(picture))
            blob = await self._blobs.keep(user_id, content)
            try:
                thumbnail = await self._blobs.keep(user_id, await _content(small))
            except BaseException:
                await self._blobs.discard(blob)
                raise
        return KeptPicture(
            blob=blob,
            thumbnail=thumbnail,
            media_type=found.media_type,
            width=found.width or 0,
            height=found.height or 0,
        )

    @property
    def _inspector_now(self) -> Inspector:
        if self._inspector is None:
            self._inspector = self._make_inspector()
        return self._inspector


async def _patiently(look: Callable[[], Awaitable[Findings]]) -> Findings:
    """The picture is paid for: it waits for its turn longer than a file that can be sent again."""
    for _ in range(BUSY_TRIES - 1):
        try:
            return await look()
        except ReadersBusy:
            log.warning("image.readers_busy")
    try:
        return await look()
    except ReadersBusy:
        raise StorageUnavailable("Too many pictures are being looked at. Try again in a moment.") from None


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()


async def _content(file: BinaryIO) -> Content:
    whole = b"".join([chunk async for chunk in file_chunks(file)])
    return Content(file, hashlib.sha256(whole).hexdigest(), len(whole))


drawn_pictures = DrawnPictures(settings=get_settings, blobs=blob_keeper)
