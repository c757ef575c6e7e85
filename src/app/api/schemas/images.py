"""Bodies of ``/images``."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from app.api.schemas.common import FilledText, ModelId, ReadModel, RequestBody, Text, Usd
from app.domain.image_requests import is_ratio
from app.services.image_generation_service import MOST_IMAGES, ImageBatch, ImageOptions, ShownImage

Prompt = Annotated[FilledText, Field(max_length=32_000, examples=["A beautiful mosque at dawn"])]
Word = Annotated[Text, Field(min_length=1, max_length=20)]


def _ratio(text: str) -> str:
    if text != "auto" and not is_ratio(text):
        raise ValueError("must be a ratio such as 16:9")
    return text


class ImageOptionsBody(RequestBody):
    """How pictures are made. What is left out is up to the model; GET /images/models tells what each one takes."""

    aspect_ratio: Annotated[Word, AfterValidator(_ratio), Field(examples=["16:9"])] | None = None
    model: ModelId | None = Field(default=None, examples=["google/gemini-2.5-flash-image-preview"])
    fallback_models: Annotated[list[ModelId], Field(max_length=10)] | None = None
    output_format: Literal["url", "base64"] = Field(
        default="url", description="Whether the answer holds the pictures' bytes, too"
    )
    n: Annotated[int, Field(ge=1, le=MOST_IMAGES, strict=True)] = 1
    size: Annotated[Word, Field(pattern=r"^(\d{3,5}x\d{3,5}|512|0\.5K|768|1K|1\.5K|2K|4K)$")] | None = Field(
        default=None, description="A resolution such as `2K`, or pixels such as `1344x768`", examples=["1K"]
    )
    quality: Word | None = Field(default=None, examples=["high"])
    background: Word | None = Field(default=None, examples=["transparent"])
    image_format: Literal["png", "jpeg", "webp"] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] | None = None

    def options(self) -> ImageOptions:
        """The same for the service."""
        return ImageOptions(**self.model_dump(exclude={"prompt"}))


class ImageGenerate(ImageOptionsBody):
    """What to draw, and how."""

    prompt: Prompt


class ImageEdit(ImageGenerate):
    """What to make of a picture. Without another model, it is drawn as the picture was."""


class ImageRegenerate(ImageOptionsBody):
    """How to draw a picture again. Without another model, it is drawn as it was, but for the seed."""


class ImageRead(ReadModel):
    """A picture: what was asked for, and what came."""

    id: UUID
    request_id: UUID
    parent_id: UUID | None
    operation: Literal["generate", "edit", "regenerate"]
    prompt: str
    model: str
    served_model: str
    provider: str | None
    aspect_ratio: str | None
    size: str | None
    quality: str | None
    background: str | None
    image_format: str | None
    seed: int | None
    width: int
    height: int
    media_type: str
    size_bytes: int
    sha256: str
    cost_usd: Usd | None
    created_at: datetime
    url: str
    thumbnail_url: str
    url_expires_at: datetime | None
    b64_json: str | None


def shown(found: ShownImage) -> ImageRead:
    """A picture's row, and where it can be had."""
    image, own = found.image, ("url", "thumbnail_url", "url_expires_at", "b64_json")
    values = {name: getattr(found if name in own else image, name) for name in ImageRead.model_fields}
    return ImageRead.model_validate(values)


class ImageFailureRead(ReadModel):
    """Why pictures are missing."""

    error: str
    detail: str


class ImageBatchRead(ReadModel):
    """What came of a request. ``error`` is null where all that were ``requested`` are there."""

    request_id: UUID
    requested: int
    images: list[ImageRead]
    notes: list[str]
    error: ImageFailureRead | None

    @classmethod
    def of(cls, batch: ImageBatch) -> "ImageBatchRead":
        """What the service made."""
        error = ImageFailureRead.model_validate(batch.error) if batch.error else None
        return cls(
            request_id=batch.request_id,
            requested=batch.requested,
            images=[shown(each) for each in batch.images],
            notes=list(batch.notes),
            error=error,
        )


class ImagePageRead(ReadModel):
    """A page of the history; ``next_cursor`` is null on the last one."""

    items: list[ImageRead]
    next_cursor: str | None


class ImageModelRead(ReadModel):
    """A model that draws. An empty list means that the model does not let that be chosen."""

    id: str
    name: str
    route: Literal["images", "chat"]
    aspect_ratios: list[str]
    sizes: list[str]
    qualities: list[str]
    backgrounds: list[str]
    formats: list[str]
    takes_seed: bool
    max_references: int
    usd_per_million_tokens: Usd | None
    replaces: list[str]


class ImageModelsRead(ReadModel):
    """The models that may be named; the first one draws where none is named."""

    items: list[ImageModelRead]
