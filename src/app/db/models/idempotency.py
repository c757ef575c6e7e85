"""Requests that must have their effect once, however often they are sent."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class IdempotencyKey(Base):
    """A client's key, the fingerprint of the body it came with, and the message that came of it.

    ``reply`` is the answer as it was sent; NULL while it is being made.
    """

    __tablename__ = "idempotency_keys"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    message_id: Mapped[UUID]
    reply: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
