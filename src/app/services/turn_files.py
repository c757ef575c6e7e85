"""The files of a turn: found when it opens, loaded when it is asked, and what was read of them kept when it ends."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import Clock, utc_now
from app.db.database import Database, database
from app.db.repositories.branches import PastMessage
from app.db.unit_of_work import UnitOfWork
from app.domain.links import read_link
from app.openrouter.media import Media
from app.openrouter.parsed_files import ReadBefore, kept, match_files
from app.services.chat_turn import Question, Turn
from app.services.message_media import Beside, TurnFiles, link_beside, read_before
from app.services.model_call import ModelCall
from app.services.turn_place import Spot

log = structlog.get_logger(__name__)


class TurnFileReader:
    """Knows where the files beside messages are, and what was read of them."""

    def __init__(self, *, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def read(self, uow: UnitOfWork, user_id: UUID, spot: Spot, question: Question) -> TurnFiles:
        """The files that a turn may send; asks the database only where there are any."""
        asked = [link_beside(each) for each in question.links or ()]
        beside = {each.id: found for each in spot.past if (found := _links(each))}
        parsed = await self._parsed(uow, user_id, (*asked, *(one for each in beside.values() for one in each)), spot)
        return TurnFiles(asked=asked, beside=beside, parsed=parsed)

    async def _parsed(
        self, uow: UnitOfWork, user_id: UUID, files: Iterable[Beside], spot: Spot
    ) -> Mapping[str, Sequence[ReadBefore]]:
        sources = {_hash_of(each.media): each.media.source for each in files if each.media.kind == "pdf"}
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
                "file_hash": _hash_of(file),
                "engine": reading.engine,
                "message_id": turn.message_id,
                "annotation": msgspec.json.encode(kept(annotation)).decode(),
                "created_at": self._clock(),
            }
            for file, annotation in match_files(reading.fresh, told)
        ]
        if not rows:
            return
        try:
            async with self._database.unit_of_work() as uow:
                await uow.parsed_files.keep(rows)
                await uow.commit()
        except (SQLAlchemyError, OSError):
            log.warning("turn.parsed_files_not_kept", count=len(rows))


def _links(message: PastMessage) -> list[Beside]:
    return [link_beside(read_link(each)) for each in message.attachment_urls]


def _hash_of(media: Media) -> str:
    return hashlib.sha256(media.source.encode()).hexdigest() if media.is_link else media.source


turn_file_reader = TurnFileReader(database=database)
