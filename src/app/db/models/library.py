"""What people keep: presets and generated images."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, ForeignKeyConstraint, Index, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonValue


class ModelPreset(Base):
    """A named model configuration in its newest version (``version``); ``stable_version`` is its owner's choice.

    ``origin_id`` is the preset it was duplicated from, by ``origin_user_id``.
    """

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
    fallback_models: Mapped[list[str] | None] = mapped_column(JsonValue)
    reasoning: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    response_schema: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    web_search: Mapped[bool] = mapped_column(default=False, server_default=false())
    variables: Mapped[dict[str, dict[str, Any]] | None] = mapped_column(JsonValue)
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    stable_version: Mapped[int | None]
    is_public: Mapped[bool]
    origin_user_id: Mapped[UUID | None]
    origin_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "user_id", "slug", unique=True),
        Index(None, "id"),
        Index(None, "is_public", "id"),
    )


class PresetVersion(Base):
    """What a preset was at one time. It never changes; it goes when its preset goes."""

    __tablename__ = "preset_versions"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    preset_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    created_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "preset_id"], ["model_presets.user_id", "model_presets.id"], ondelete="CASCADE"
        ),
    )


class GeneratedImage(Base):
    """One picture and how it came to be; its bytes and those of its thumbnail are blobs.

    Pictures of one request share ``request_id``. ``model`` was asked for, ``served_model`` drew it; ``aspect_ratio``
    and ``size`` are what was wished, ``width`` and ``height`` what came. ``parent_id`` is the picture it was made from,
    ``reference_id`` the one that went along to be drawn by; they may be deleted by now. ``cost_usd`` is its share of
    the call's bill, NULL until that is known.
    """

    __tablename__ = "generated_images"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    request_id: Mapped[UUID]
    parent_id: Mapped[UUID | None]
    reference_id: Mapped[UUID | None]
    operation: Mapped[str] = mapped_column(String(20))
    prompt: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(200))
    served_model: Mapped[str] = mapped_column(String(200))
    provider: Mapped[str | None] = mapped_column(String(100))
    aspect_ratio: Mapped[str | None] = mapped_column(String(20))
    size: Mapped[str | None] = mapped_column(String(20))
    quality: Mapped[str | None] = mapped_column(String(20))
    background: Mapped[str | None] = mapped_column(String(20))
    image_format: Mapped[str | None] = mapped_column(String(20))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    media_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    blob_id: Mapped[UUID]
    thumbnail_blob_id: Mapped[UUID]
    thumbnail_size_bytes: Mapped[int] = mapped_column(BigInteger)
    thumbnail_sha256: Mapped[str] = mapped_column(String(64))
    generation_id: Mapped[str | None] = mapped_column(String(200))
    cost_usd: Mapped[Decimal | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "blob_id"], ["blobs.user_id", "blobs.id"]),
        ForeignKeyConstraint(["user_id", "thumbnail_blob_id"], ["blobs.user_id", "blobs.id"]),
        Index(None, "user_id", "blob_id"),
        Index(None, "user_id", "thumbnail_blob_id"),
        Index(None, "user_id", "request_id"),
        CheckConstraint("operation IN ('generate', 'edit', 'regenerate')", name="operation"),
        CheckConstraint("cost_usd >= 0", name="cost_not_negative"),
        CheckConstraint("width > 0 AND height > 0", name="has_pixels"),
    )
