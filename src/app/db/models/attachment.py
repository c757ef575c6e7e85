"""Files that people send, and the bytes they are made of."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base

_STORED = text("state = 'stored'")
"""Each content is stored once for each account."""
_UNSENT = text("sent_at IS NULL")


class Blob(Base):
    """Some bytes in a store, under the key of this row. The row is there before its bytes, and goes after them.

    ``arriving`` while they are being written, ``stored`` when all are there and something names them, ``leaving`` when
    nothing does any more. Bytes that arrived and were left alone, and those that leave, are removed by
    ``file_collector``. It has no foreign key to its account: the bytes must be found when that is gone.
    """

    __tablename__ = "blobs"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    storage: Mapped[str] = mapped_column(String(20))
    """Which kind of store holds it: what was stored before `IMAGE_STORAGE_TYPE` changed lies where it was."""
    state: Mapped[str] = mapped_column(String(20))
    changed_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "user_id", "sha256", unique=True, postgresql_where=_STORED, sqlite_where=_STORED),
        Index(None, "state", "changed_at"),
        CheckConstraint("state IN ('arriving', 'stored', 'leaving')", name="state"),
        CheckConstraint("storage IN ('database', 'local', 's3')", name="storage"),
        CheckConstraint("size_bytes >= 0", name="size_not_negative"),
    )


class BlobChunk(Base):
    """A part of a blob that lies in the database; ``start_byte`` is where it begins."""

    __tablename__ = "blob_chunks"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    blob_id: Mapped[UUID] = mapped_column(primary_key=True)
    start_byte: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Attachment(Base):
    """A file its owner may send beside questions.

    ``blob_id`` is what is shown again; a picture has a second copy, ``model_blob_id``, scaled for models. When its
    owner deletes it, the row stays for the messages that tell of it, without bytes.
    """

    __tablename__ = "attachments"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(20))
    media_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    blob_id: Mapped[UUID | None]
    model_media_type: Mapped[str | None] = mapped_column(String(100))
    model_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    model_sha256: Mapped[str | None] = mapped_column(String(64))
    model_blob_id: Mapped[UUID | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    pages: Mapped[int | None]
    has_text: Mapped[bool | None]
    """Of a PDF: false where no page has a font, so that nothing is written on it."""
    duration_seconds: Mapped[float | None] = mapped_column(Float)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    """When it first went along with a question; what never did is forgotten after a day."""
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "blob_id"], ["blobs.user_id", "blobs.id"]),
        ForeignKeyConstraint(["user_id", "model_blob_id"], ["blobs.user_id", "blobs.id"]),
        Index(None, "user_id", "blob_id"),
        Index(None, "user_id", "model_blob_id"),
        Index(None, "created_at", postgresql_where=_UNSENT, sqlite_where=_UNSENT),
        CheckConstraint("kind IN ('image', 'pdf', 'audio')", name="kind"),
        CheckConstraint("(blob_id IS NULL) = (deleted_at IS NOT NULL)", name="deleted_without_bytes"),
    )


class MessageAttachment(Base):
    """A file beside a question, at its place among the others."""

    __tablename__ = "message_attachments"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    attachment_id: Mapped[UUID]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "message_id"], ["messages.user_id", "messages.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["user_id", "attachment_id"], ["attachments.user_id", "attachments.id"]),
        Index(None, "user_id", "attachment_id"),
    )
