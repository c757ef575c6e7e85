"""What people keep: presets and generated images."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class ModelPreset(Base):
    """A named model configuration. ``origin_id`` is the preset it was duplicated from, by ``origin_user_id``."""

    __tablename__ = "model_presets"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    slug: Mapped[str] = mapped_column(String(60))
    description: Mapped[str | None] = mapped_column(String(500))
    model: Mapped[str] = mapped_column(String(200))
    system_prompt: Mapped[str | None] = mapped_column(Text)
    temperature: Mapped[float | None] = mapped_column(Float)
    top_p: Mapped[float | None] = mapped_column(Float)
    max_tokens: Mapped[int | None]
    is_public: Mapped[bool]
    origin_user_id: Mapped[UUID | None]
    origin_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (Index(None, "user_id", "slug", unique=True),)


class GeneratedImage(Base):
    """One picture and how it came to be; the bytes lie in the blob store under ``sha256``."""

    __tablename__ = "generated_images"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    parent_id: Mapped[UUID | None]
    prompt: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(200))
    served_model: Mapped[str | None] = mapped_column(String(200))
    aspect_ratio: Mapped[str | None] = mapped_column(String(20))
    width: Mapped[int]
    height: Mapped[int]
    media_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    generation_id: Mapped[str | None] = mapped_column(String(200))
    cost_usd: Mapped[Decimal | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "user_id", "created_at", "id"),
        CheckConstraint("cost_usd >= 0", name="cost_not_negative"),
    )
