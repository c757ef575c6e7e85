"""Documents that were read for somebody once."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class ParsedFile(Base):
    """What an engine read of a document, by the document's SHA-256: the same one is not read, nor paid for, again.

    ``message_id`` is the answer with which it came; it may be gone. ``annotation`` is OpenRouter's own JSON, to the
    letter, as it is sent back.
    """

    __tablename__ = "parsed_files"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    file_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    engine: Mapped[str] = mapped_column(String(20), primary_key=True)
    message_id: Mapped[UUID]
    annotation: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
