"""Pictures that people had made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.errors import NotFound
from app.db.models import Blob, GeneratedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFilter:
    """Which pictures are looked for; ``None`` is no condition. ``since`` is inclusive, ``before`` is not.

    ``model`` may be the one that was asked for or the one that drew; ``text`` is a part of the prompt.
    """

    model: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A picture, and where its bytes and those of its thumbnail lie."""

    image: GeneratedImage
    blob: Blob
    thumbnail: Blob


class GeneratedImages:
    """Reads and writes ``generated_images``; what is not the owner's own is not found."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, image: GeneratedImage) -> None:
        """Add a picture, whose blobs are stored."""
        self._session.add(image)

    async def require(self, user_id: UUID, image_id: UUID, *, for_update: bool = False) -> GeneratedImage:
        """A picture; raises :class:`NotFound`."""
        image = await self._session.get(GeneratedImage, (user_id, image_id), with_for_update=for_update)
        if image is None:
            raise NotFound(f"No image {str(image_id)!r}.")
        return image

    async def require_stored(self, user_id: UUID, image_id: UUID) -> StoredImage:
        """A picture with its blobs; raises :class:`NotFound`."""
        found = await self._list(user_id, GeneratedImage.id == image_id, limit=1)
        if not found:
            raise NotFound(f"No image {str(image_id)!r}.")
        return found[0]

    async def list_page(
        self, user_id: UUID, wanted: ImageFilter, *, after: UUID | None, limit: int
    ) -> Sequence[StoredImage]:
        """At most ``limit`` pictures older than ``after``, newest first."""
        conditions = []
        if wanted.model is not None:
            of_model = (GeneratedImage.model == wanted.model, GeneratedImage.served_model == wanted.model)
            conditions.append(or_(*of_model))
        if wanted.since is not None:
            conditions.append(GeneratedImage.created_at >= wanted.since)
        if wanted.before is not None:
            conditions.append(GeneratedImage.created_at < wanted.before)
        if wanted.text is not None:
            conditions.append(GeneratedImage.prompt.icontains(wanted.text, autoescape=True))
        if after is not None:
            conditions.append(GeneratedImage.id < after)
        return await self._list(user_id, *conditions, limit=limit)

    async def list_of_request(self, user_id: UUID, request_id: UUID) -> Sequence[StoredImage]:
        """The pictures of one request, in the order they were made."""
        found = await self._list(user_id, GeneratedImage.request_id == request_id, limit=100)
        return found[::-1]

    async def delete(self, image: GeneratedImage) -> set[tuple[UUID, UUID]]:
        """Delete a picture; the blobs (user, id) that it named."""
        await self._session.execute(
            delete(GeneratedImage)
            .where(GeneratedImage.user_id == image.user_id, GeneratedImage.id == image.id)
            .execution_options(synchronize_session=False)
        )
        return {(image.user_id, image.blob_id), (image.user_id, image.thumbnail_blob_id)}

    async def complete_cost(self, user_id: UUID, generation_id: str, cost_usd: Decimal) -> None:
        """Share out a bill that came late among the pictures of its call."""
        of_call = (GeneratedImage.user_id == user_id, GeneratedImage.generation_id == generation_id)
        count = await self._session.scalar(select(func.count()).select_from(GeneratedImage).where(*of_call))
        if count:
            await self._session.execute(
                update(GeneratedImage)
                .where(*of_call, GeneratedImage.cost_usd.is_(None))
                .values(cost_usd=cost_usd / count)
                .execution_options(synchronize_session=False)
            )

    async def _list(self, user_id: UUID, *conditions: ColumnElement[bool], limit: int) -> Sequence[StoredImage]:
        thumbnail = aliased(Blob)
        query = (
            select(GeneratedImage, Blob, thumbnail)
            .join(Blob, (Blob.user_id == GeneratedImage.user_id) & (Blob.id == GeneratedImage.blob_id))
            .join(
                thumbnail,
                (thumbnail.user_id == GeneratedImage.user_id) & (thumbnail.id == GeneratedImage.thumbnail_blob_id),
            )
            .where(GeneratedImage.user_id == user_id, *conditions)
            .order_by(GeneratedImage.id.desc())
            .limit(limit)
        )
        return [StoredImage(*row) for row in await self._session.execute(query)]
