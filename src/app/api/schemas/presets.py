"""Bodies of ``/presets``."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from app.api.schemas.common import FilledText, MaxTokens, ModelId, ReadModel, RequestBody, Temperature


class PresetCreate(RequestBody):
    """A named model configuration; the slug is unique among its owner's."""

    name: Annotated[FilledText, Field(max_length=100)]
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
    model: ModelId
    description: Annotated[FilledText, Field(max_length=500)] | None = None
    system_prompt: Annotated[FilledText, Field(max_length=100_000)] | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=True, allow_inf_nan=False)] | None = None
    max_tokens: MaxTokens | None = None
    is_public: Annotated[bool, Field(strict=True)] = False


class PresetRead(ReadModel):
    """A preset; ``origin_id`` is the one it was duplicated from."""

    id: UUID
    name: str
    slug: str
    model: str
    description: str | None
    system_prompt: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    is_public: bool
    origin_id: UUID | None
    created_at: datetime
    updated_at: datetime
