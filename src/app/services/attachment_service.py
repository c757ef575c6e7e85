"""Files that people send along: taken in, looked at, kept, shown again and deleted."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO
from uuid import UUID

import structlog

from app.blobs.chunks import file_chunks
from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import AppError, InvalidField, QuotaExceeded, ServiceUnavailable, TooManyRequests
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import Attachment, Blob
from app.domain.attachment_limits import ATTACHMENT_LIMITS, Kind, Measure, most_bytes
from app.domain.features import Feature
from app.domain.plans import PlanLimits
from app.media.inspector import Findings, Inspector, ReadersBusy
from app.media.refusals import Refused
from app.media.types import HEAD_BYTES, TAIL_BYTES, FileType, is_something_else_too, type_by_name
from app.services.blob_keeper import BlobKeeper, Content, Download, StorageUnavailable, blob_keeper
from app.services.file_refusals import (
    AmbiguousFile,
    DamagedFile,
    EncryptedFile,
    FileNotAsNamed,
    FileTooComplex,
    FileTooLarge,
)
from app.services.plan_gates import PlanGates, plan_gates
from app.services.upload_reader import Arrival, take_in

log = structlog.get_logger(__name__)

_FEATURES = {
    Kind.PDF: (Feature.PDF_PROCESSING, "Sending PDFs"),
    Kind.AUDIO: (Feature.AUDIO_PROCESSING, "Sending audio"),
}
_TRIES = 3
UPLOADS_AT_ONCE = 4
"""How many files one account may be sending to one process: each takes room on the disk until it is whole."""


class ReadersAreBusy(ServiceUnavailable):
    """More files are being read than the server can; waiting helps."""

    code = "readers_busy"


class TooManyUploads(TooManyRequests):
    """The account sends as many files at the same time as it may."""

    code = "too_many_uploads"


@dataclass(frozen=True, slots=True)
class AttachmentPage:
    """Some files, newest first, and where the next ones begin (``None``: there are no more)."""

    items: Sequence[Attachment]
    next_cursor: str | None


class AttachmentService:
    """Use cases of ``/attachments``. What is not the caller's own is not found."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        blobs: BlobKeeper,
        gates: PlanGates,
        inspector: Callable[[], Inspector] | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._gates = gates
        self._make_inspector = inspector or (lambda: Inspector(settings().upload_folder))
        self._inspector: Inspector | None = None
        self._uploading: Counter[UUID] = Counter()
        self._clock = clock

    async def upload(self, user_id: UUID, name: str, chunks: AsyncIterator[bytes]) -> Attachment:
        """Take in a file; raises what ``file_refusals`` holds, and what the plan's gates raise, as early as it can."""
        if self._uploading[user_id] >= UPLOADS_AT_ONCE:
            raise TooManyUploads(f"You may send {UPLOADS_AT_ONCE} files at the same time. Wait until one is there.")
        self._uploading[user_id] += 1
        try:
            return await self._upload(user_id, name, chunks)
        except OSError as error:
            log.error("upload.not_written", kind=type(error).__name__)
            raise StorageUnavailable("The file could not be written. Try again in a moment.") from error
        finally:
            self._uploading[user_id] -= 1
            if not self._uploading[user_id]:
                del self._uploading[user_id]

    async def _upload(self, user_id: UUID, name: str, chunks: AsyncIterator[bytes]) -> Attachment:
        async with self._database.read_only() as uow:
            limits = (await uow.subscriptions.require_plan(user_id, now=self._clock())).limits
            kept = await uow.blobs.sum_stored(user_id)
        self._require_room(limits, kept)
        gate = _PlanGate(self._gates, limits, name, largest_image=self._largest_image)
        with self._inspector_now.temporary_file() as file:
            arrival = await take_in(chunks, file, gate)
            await asyncio.to_thread(_refuse_second_nature, arrival.told, file)
            with self._inspector_now.copies(arrival.told.kind) as copies:
                findings = await self._inspect(file, arrival.told, limits, copies)
                original = await _content(findings.kept) if findings.kept else _as_it_came(file, arrival)
                for_models = await _content(findings.model) if findings.model else None
                return await self._keep(user_id, limits, name, arrival.told.kind, findings, original, for_models)

    async def list_page(self, user_id: UUID, *, limit: int, cursor: str | None = None) -> AttachmentPage:
        """One page of the account's files, newest first."""
        after = _read_cursor(cursor) if cursor else None
        async with self._database.read_only() as uow:
            found = await uow.attachments.list_page(user_id, after=after, limit=limit + 1)
        items = found[:limit]
        return AttachmentPage(items, str(items[-1].id) if len(found) > limit else None)

    async def get(self, user_id: UUID, attachment_id: UUID) -> Attachment:
        """One of the account's files; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            return await uow.attachments.require(user_id, attachment_id)

    async def open_content(self, user_id: UUID, attachment_id: UUID) -> Download:
        """The bytes of one of the account's files; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            attachment = await uow.attachments.require(user_id, attachment_id)
            blob = await uow.blobs.get(user_id, attachment.blob_id) if attachment.blob_id else None
        if blob is None:
            raise StorageUnavailable("The stored file is missing.")
        return Download(
            name=attachment.name,
            media_type=attachment.media_type,
            sha256=attachment.sha256,
            size_bytes=attachment.size_bytes,
            read=lambda start, end: self._blobs.read(blob, start=start, end=end),
        )

    async def delete(self, user_id: UUID, attachment_id: UUID) -> None:
        """Delete a file. Messages it stood beside go on telling that there was one."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            attachment = await uow.attachments.require(user_id, attachment_id, for_update=True)
            named = await uow.attachments.delete(attachment, now=now)
            await uow.blobs.release(named, now=now)
            if attachment.kind == Kind.PDF:
                await uow.parsed_files.forget(user_id, [attachment.sha256])
            await uow.commit()

    async def aclose(self) -> None:
        """Close the stores and the database; a later call opens them anew."""
        await self._blobs.aclose()
        await self._database.close()

    async def _inspect(
        self, file: BinaryIO, told: FileType, limits: PlanLimits, copies: tuple[BinaryIO, BinaryIO] | None
    ) -> Findings:
        measure, most = ATTACHMENT_LIMITS[limits.plan].most(told.kind)
        try:
            return await self._inspector_now.inspect(file, told, most=most, copies=copies)
        except ReadersBusy:
            raise ReadersAreBusy("Too many files are being read at the moment. Try again in a moment.") from None
        except Refused as refused:
            raise self._refusal(refused, told, limits, measure, most) from None

    def _refusal(self, refused: Refused, told: FileType, limits: PlanLimits, measure: Measure, most: int) -> AppError:
        if refused.why == "too_large":
            return FileTooLarge(
                told.kind,
                measure,
                most,
                plan=limits.plan,
                measured=refused.measured,
                largest_image=self._largest_image,
            )
        if refused.why == "encrypted":
            return EncryptedFile()
        return FileTooComplex(told) if refused.why == "too_complex" else DamagedFile(told)

    async def _keep(
        self,
        user_id: UUID,
        limits: PlanLimits,
        name: str,
        kind: Kind,
        findings: Findings,
        original: Content,
        for_models: Content | None,
    ) -> Attachment:
        contents = [original, *([for_models] if for_models else [])]
        for _ in range(_TRIES):
            blobs: list[Blob] = []
            try:
                for content in contents:
                    blobs.append(await self._blobs.keep(user_id, content))
                attachment = _row(user_id, name, kind, findings, contents, self._clock())
                if await self._write(limits, attachment, blobs):
                    return attachment
            finally:
                for blob in blobs:
                    await self._blobs.discard(blob)  # unless it was written down
        raise StorageUnavailable("The file could not be stored. Try again in a moment.")

    async def _write(self, limits: PlanLimits, attachment: Attachment, blobs: Sequence[Blob]) -> bool:
        """Name the blobs and commit; false if one of them has left since it was found."""
        async with self._database.unit_of_work() as uow:
            await uow.attachments.lock_owner(attachment.user_id)
            settled = [each for blob in blobs if (each := await self._blobs.settle(uow, blob))]
            if len(settled) < len(blobs):
                return False
            # The account may go past its limit by the last file, as it was told before it sent it.
            self._require_room(limits, await uow.blobs.sum_stored(attachment.user_id) - attachment.size_bytes)
            attachment.blob_id = settled[0].id
            attachment.model_blob_id = settled[1].id if len(settled) > 1 else None
            uow.attachments.add(attachment)
            await uow.commit()
        return True

    def _require_room(self, limits: PlanLimits, kept: int) -> None:
        most = ATTACHMENT_LIMITS[limits.plan].kept_bytes
        if kept >= most:
            raise QuotaExceeded(
                f"Storage limit reached ({most:,} bytes). Delete files, or conversations that hold some.",
                meter="storage",
                limit=most,
                used=kept,
            )

    @property
    def _largest_image(self) -> int:
        return int(self._settings().image_max_size_mb * 1_000_000)

    @property
    def _inspector_now(self) -> Inspector:
        if self._inspector is None:
            self._inspector = self._make_inspector()
        return self._inspector


@dataclass(frozen=True, slots=True)
class _PlanGate:
    """What a plan says of a file once its type is known."""

    gates: PlanGates
    limits: PlanLimits
    name: str
    largest_image: int

    def __call__(self, told: FileType) -> int:
        claimed = type_by_name(self.name)
        if claimed is not None and claimed.kind is not told.kind:
            raise FileNotAsNamed(claimed, told)
        if told.kind in _FEATURES:
            feature, what = _FEATURES[told.kind]
            self.gates.require(feature, self.limits, what=what)
        return most_bytes(told.kind, self.limits.plan, largest_image=self.largest_image)

    def refuse_length(self, told: FileType, length: int) -> Exception:
        return FileTooLarge(
            told.kind,
            Measure.BYTES,
            most_bytes(told.kind, self.limits.plan, largest_image=self.largest_image),
            plan=self.limits.plan,
            measured=length,
            largest_image=self.largest_image,
        )


def _refuse_second_nature(told: FileType, file: BinaryIO) -> None:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    length = file.seek(0, 2)
    file.seek(max(0, length - TAIL_BYTES))
    if is_something_else_too(told.kind, head, file.read(TAIL_BYTES)):
        raise AmbiguousFile(told)


async def _content(file: BinaryIO) -> Content:
    digest, size = hashlib.sha256(), 0
    async for chunk in file_chunks(file):
        await asyncio.to_thread(digest.update, chunk)
        size += len(chunk)
    return Content(file, digest.hexdigest(), size)


def _as_it_came(file: BinaryIO, arrival: Arrival) -> Content:
    return Content(file, arrival.sha256, arrival.size_bytes)


def _row(
    user_id: UUID, name: str, kind: Kind, findings: Findings, contents: Sequence[Content], now: datetime
) -> Attachment:
    original = contents[0]
    for_models = contents[1] if len(contents) > 1 else None
    return Attachment(
        user_id=user_id,
        id=new_id(),
        name=name,
        kind=kind.value,
        media_type=findings.media_type,
        size_bytes=original.size_bytes,
        sha256=original.sha256,
        model_media_type="image/jpeg" if for_models else None,
        model_size_bytes=for_models.size_bytes if for_models else None,
        model_sha256=for_models.sha256 if for_models else None,
        width=findings.width,
        height=findings.height,
        pages=findings.pages,
        has_text=findings.has_text,
        duration_seconds=findings.duration_seconds,
        created_at=now,
    )


def _read_cursor(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError:
        raise InvalidField("cursor", "use the next_cursor of the page before.") from None


attachment_service = AttachmentService(settings=get_settings, database=database, blobs=blob_keeper, gates=plan_gates)
