"""Bodies of ``/attachments``."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.api.schemas.common import ReadModel


class AttachmentRead(ReadModel):
    """A file somebody sent; what is measured of another kind of file is null."""

    id: UUID
    name: str = Field(examples=["mosque.jpg"])
    kind: Literal["image", "pdf", "audio"]
    media_type: str = Field(examples=["image/jpeg"])
    size_bytes: int
    sha256: str
    width: int | None
    height: int | None
    pages: int | None
    duration_seconds: float | None
    created_at: datetime
    deleted_at: datetime | None


class AttachmentPageRead(ReadModel):
    """A page of the list; ``next_cursor`` is null on the last one."""

    items: list[AttachmentRead]
    next_cursor: str | None
