"""Which bytes there are, where they lie, and whether anything needs them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, not_, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Attachment, Blob, GeneratedImage

_NEEDED = or_(
    exists().where(
        Attachment.user_id == Blob.user_id, or_(Attachment.blob_id == Blob.id, Attachment.model_blob_id == Blob.id)
    ),
    exists().where(
        GeneratedImage.user_id == Blob.user_id,
        or_(GeneratedImage.blob_id == Blob.id, GeneratedImage.thumbnail_blob_id == Blob.id),
    ),
)


@dataclass(frozen=True, slots=True)
class SweptBlob:
    """A stored blob, and whether anything names it."""

    key: tuple[UUID, UUID]
    is_needed: bool


class Blobs:
    """Reads and writes ``blobs``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, blob: Blob) -> None:
        """Add a blob, before its bytes are written."""
        self._session.add(blob)

    async def get(self, user_id: UUID, blob_id: UUID) -> Blob | None:
        """A blob in whatever state."""
        return await self._session.get(Blob, (user_id, blob_id))

    async def get_stored(self, user_id: UUID, sha256: str, *, for_update: bool = False) -> Blob | None:
        """The one copy of a content that an account has. ``for_update`` lets nobody give it up meanwhile."""
        query = select(Blob).where(Blob.user_id == user_id, Blob.sha256 == sha256, Blob.state == "stored")
        found: Blob | None = await self._session.scalar(query.with_for_update() if for_update else query)
        return found

    async def sum_stored(self, user_id: UUID) -> int:
        """Bytes that an account keeps."""
        query = select(func.coalesce(func.sum(Blob.size_bytes), 0)).where(
            Blob.user_id == user_id, Blob.state == "stored"
        )
        return int((await self._session.scalars(query)).one())

    async def mark(self, user_id: UUID, blob_id: UUID, state: str, *, now: datetime) -> None:
        """Move a blob to its next state."""
        await self._session.execute(
            update(Blob)
            .where(Blob.user_id == user_id, Blob.id == blob_id)
            .values(state=state, changed_at=now)
            .execution_options(synchronize_session=False)
        )

    async def give_up(self, user_id: UUID, blob_id: UUID, *, now: datetime) -> bool:
        """Let a blob leave that is still arriving; false for any other."""
        given_up = await self._session.execute(
            update(Blob)
            .where(Blob.user_id == user_id, Blob.id == blob_id, Blob.state == "arriving")
            .values(state="leaving", changed_at=now)
            .returning(Blob.id)
            .execution_options(synchronize_session=False)
        )
        return given_up.first() is not None

    async def release(self, keys: Collection[tuple[UUID, UUID]], *, now: datetime) -> int:
        """Let those of these (user, blob) leave that nothing needs any more; how many do."""
        if not keys:
            return 0
        these = and_(tuple_(Blob.user_id, Blob.id).in_(list(keys)), Blob.state == "stored")
        # Locked first: who is about to use one has locked it, too, and what they wrote is seen by the second statement.
        await self._session.execute(select(Blob.id).where(these).order_by(Blob.user_id, Blob.id).with_for_update())
        released = await self._session.execute(
            update(Blob)
            .where(these, not_(_NEEDED))
            .values(state="leaving", changed_at=now)
            .returning(Blob.id)
            .execution_options(synchronize_session=False)
        )
        return len(released.all())

    async def list_removable(self, *, arriving_before: datetime, limit: int) -> Sequence[Blob]:
        """Those that leave, and those whose bytes never arrived."""
        lost: ColumnElement[bool] = and_(Blob.state == "arriving", Blob.changed_at < arriving_before)
        query = select(Blob).where(or_(Blob.state == "leaving", lost)).order_by(Blob.changed_at).limit(limit)
        return (await self._session.scalars(query)).all()

    async def list_behind(self, after: tuple[UUID, UUID] | None, *, limit: int) -> Sequence[SweptBlob]:
        """At most ``limit`` stored blobs in the order of their keys (user, id), and whether anything needs them."""
        query = select(Blob.user_id, Blob.id, _NEEDED.label("is_needed")).where(Blob.state == "stored")
        if after is not None:
            query = query.where(tuple_(Blob.user_id, Blob.id) > after)
        rows = (await self._session.execute(query.order_by(Blob.user_id, Blob.id).limit(limit))).all()
        return [SweptBlob((row.user_id, row.id), bool(row.is_needed)) for row in rows]

    async def remove(self, user_id: UUID, blob_id: UUID) -> None:
        """Forget a blob whose bytes are gone."""
        await self._session.execute(
            delete(Blob).where(Blob.user_id == user_id, Blob.id == blob_id).execution_options(synchronize_session=False)
        )
