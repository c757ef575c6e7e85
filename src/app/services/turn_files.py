"""The files of a turn: found when it opens, loaded when it is asked, and what was read of them kept when it ends."""

import hashlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.byte_budget import ByteBudget
from app.core.clock import Clock, utc_now
from app.db.database import Database, database
from app.db.models import Attachment
from app.db.repositories.branches import PastMessage
from app.db.unit_of_work import UnitOfWork
from app.domain.links import read_link
from app.openrouter.media import Media
from app.openrouter.parsed_files import ReadBefore, kept, match_files
from app.openrouter.route_run import LoadMedia
from app.services.blob_keeper import BlobKeeper, StorageUnavailable, blob_keeper
from app.services.chat_turn import Question, Turn
from app.services.message_media import MOST_REQUEST_BYTES, Beside, TurnFiles, link_beside, read_before
from app.services.model_call import FilesUnavailable, ModelCall
from app.services.turn_place import Spot

log = structlog.get_logger(__name__)

MOST_HELD_BYTES = 200_000_000
"""Of files that all running turns of this process hold; encoded they take three times as much. More turns wait."""


class TurnFileReader:
    """Knows where the files beside messages are, and what was read of them."""

    def __init__(self, *, database: Database, blobs: BlobKeeper, clock: Clock = utc_now) -> None:
        self._database = database
        self._blobs = blobs
        self._memory = ByteBudget(MOST_HELD_BYTES)
        self._clock = clock

    async def read(
        self, uow: UnitOfWork, user_id: UUID, spot: Spot, question: Question, attached: Sequence[Attachment] = ()
    ) -> TurnFiles:
        """The files that a turn may send, those ``attached`` to the question among them; asks the database only where
        there are any.
        """
        tied = await self._tied(uow, user_id, spot.past)
        asked = [*map(_kept_here, attached), *(link_beside(each) for each in question.links or ())]
        beside = {each.id: found for each in spot.past if (found := [*tied.get(each.id, ()), *_links(each)])}
        parsed = await self._parsed(uow, user_id, (*asked, *(one for each in beside.values() for one in each)), spot)
        return TurnFiles(asked=asked, beside=beside, parsed=parsed)

    async def _tied(
        self, uow: UnitOfWork, user_id: UUID, messages: Iterable[PastMessage]
    ) -> Mapping[UUID, list[Beside]]:
        ids = [each.id for each in messages if each.attachment_count]
        found: dict[UUID, list[Beside]] = {}
        for each in await uow.attachments.list_of_messages(user_id, ids) if ids else ():
            found.setdefault(each.message_id, []).append(_kept_here(each.attachment))
        return found

    def loader(self, user_id: UUID) -> LoadMedia:
        """What brings the bytes of an account's files, outside any transaction; raises :class:`FilesUnavailable`."""

        @asynccontextmanager
        async def load(media: Collection[Media]) -> AsyncIterator[Mapping[str, bytes]]:
            async with self._memory.hold(sum(each.size_bytes for each in media)):
                yield {each.source: await self._load(user_id, each) for each in media}

        return load

    async def _load(self, user_id: UUID, media: Media) -> bytes:
        try:
            return await self._blobs.read_whole(user_id, media.held_as, at_most=MOST_REQUEST_BYTES)
        except StorageUnavailable as error:
            detail = "A file that goes along cannot be read now. Nothing was charged; try again."
            raise FilesUnavailable(detail, reason=error.code, attempts=(), retry_after=None) from error

    async def _parsed(
        self, uow: UnitOfWork, user_id: UUID, files: Iterable[Beside], spot: Spot
    ) -> Mapping[str, Sequence[ReadBefore]]:
        pdfs = [each.media for each in files if each.media.kind == "pdf"]
        sources = {_hash_of(each, spot.conversation_id): each.source for each in pdfs}
        if not sources:
            return {}
        rows = await uow.parsed_files.list_of(user_id, sources)
        branch = {str(each.id) for each in spot.past}
        found = read_before(rows, sources=sources)
        # What lies at an address may have changed: what was read of it holds on the branch where it was read.
        return {
            source: [one for one in each if not source.startswith("https://") or one.message_id in branch]
            for source, each in found.items()
        }

    async def keep_parsed(self, turn: Turn, call: ModelCall) -> None:
        """Remember what was read of documents, also by calls that failed afterwards: it was paid for."""
        reading = turn.planned.reading
        if reading is None or reading.engine == "native":
            return
        told = [one for attempt in call.attempts for one in attempt.file_annotations]
        told += call.result.completion.annotations if call.result else ()
        rows = [
            {
                "user_id": turn.user_id,
                "file_hash": _hash_of(file, turn.conversation_id),
                "engine": reading.engine,
                "message_id": turn.message_id,
                "annotation": msgspec.json.encode(kept(annotation)).decode(),
                "created_at": self._clock(),
            }
            for file, annotation in match_files(reading.fresh, told)
        ]
        if not rows:
            return
        links = {_hash_of(each, turn.conversation_id) for each in reading.fresh if each.is_link}
        try:
            async with self._database.unit_of_work() as uow:
                await uow.parsed_files.keep(rows, anew=links)
                await uow.commit()
        except (SQLAlchemyError, OSError):
            log.warning("turn.parsed_files_not_kept", count=len(rows))


def _kept_here(attachment: Attachment) -> Beside:
    has_copy = attachment.model_sha256 is not None
    media = Media(
        kind=attachment.kind,  # type: ignore[arg-type]  # the table holds these kinds only
        name=attachment.name,
        source=attachment.model_sha256 or attachment.sha256,
        media_type=attachment.model_media_type or attachment.media_type,
        size_bytes=(attachment.model_size_bytes if has_copy else attachment.size_bytes) or 0,
        width=attachment.width,
        height=attachment.height,
        pages=attachment.pages,
        has_text=attachment.has_text,
        seconds=attachment.duration_seconds,
        held_as=attachment.model_blob_id if has_copy else attachment.blob_id,
    )
    return Beside(media, is_gone=attachment.deleted_at is not None)


def _links(message: PastMessage) -> list[Beside]:
    return [link_beside(read_link(each)) for each in message.attachment_urls]


def _hash_of(media: Media, conversation_id: UUID) -> str:
    """Of an address one for each conversation: what was read of it holds there only."""
    if not media.is_link:
        return media.source
    return hashlib.sha256(f"{conversation_id} {media.source}".encode()).hexdigest()


turn_file_reader = TurnFileReader(database=database, blobs=blob_keeper)
