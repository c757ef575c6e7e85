"""Bodies of ``/conversations``."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from app.api.schemas.attachments import AttachmentRead
from app.api.schemas.cache import CacheOutcomeName
from app.api.schemas.chat import CitationRead
from app.api.schemas.common import FilledText, ReadModel, RequestBody, Text, Usd
from app.domain.links import LinkKind
from app.domain.modes import DEFAULT_MODE
from app.domain.preset_variables import MOST_VARIABLES

Title = Annotated[FilledText, Field(max_length=200)]
ModeName = Annotated[FilledText, Field(max_length=40)]
PresetReference = Annotated[Text, Field(min_length=1, max_length=200)]
"""``@owner/slug``, with ``@3`` or ``@stable`` behind it where a version is meant."""
PresetValue = (
    Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    | Text
)
PresetValues = Annotated[dict[Text, PresetValue], Field(max_length=MOST_VARIABLES)]


class ConversationCreate(RequestBody):
    """A new conversation."""

    title: Title | None = None
    mode: ModeName = DEFAULT_MODE
    preset: PresetReference | None = None
    preset_values: PresetValues | None = None


class ConversationUpdate(RequestBody):
    """What to change; at least one field. ``preset: null`` takes the preset away."""

    title: Title | None = None
    mode: ModeName | None = None
    active_message_id: UUID | None = None
    preset: PresetReference | None = None
    preset_values: PresetValues | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        given = {name for name in self.model_fields_set if name == "preset" or getattr(self, name) is not None}
        if not given:
            raise ValueError("give a title, a mode, a preset, its values or an active message")
        return self

    def changes(self) -> dict[str, Any]:
        """What was given: null means something for a preset only."""
        given = self.model_dump(exclude_unset=True)
        return {name: value for name, value in given.items() if name == "preset" or value is not None}


class ConversationRead(ReadModel):
    """A conversation without its messages."""

    id: UUID
    title: str | None
    mode: str
    created_at: datetime
    updated_at: datetime
    active_message_id: UUID | None
    preset_id: UUID | None
    preset_version: int | None
    preset_values: dict[str, Any] | None


class ConversationPageRead(ReadModel):
    """A page of the list; ``next_cursor`` is null on the last one."""

    items: list[ConversationRead]
    next_cursor: str | None


class AttachmentUrlRead(BaseModel):
    """A file beside a question that lies elsewhere."""

    kind: LinkKind
    url: str


class MessageRead(ReadModel):
    """One message; the accounting fields are filled on answers."""

    id: UUID
    parent_id: UUID | None
    role: Literal["user", "assistant", "summary"]
    status: Literal["pending", "completed", "failed", "stopped", "interrupted"]
    content: str
    attachments: list[AttachmentRead] = Field(default_factory=list)
    attachment_urls: list[AttachmentUrlRead]
    reasoning: str | None
    model: str | None
    preset_id: UUID | None
    preset_version: int | None
    final_model_used: str | None
    provider: str | None
    finish_reason: str | None
    error_code: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cached_tokens_read: int | None
    cached_tokens_write: int | None
    cache_discount_usd: Usd | None
    cache_breakpoint_count: int | None
    cache_outcome: CacheOutcomeName | None
    cache_detail: str | None
    total_cost_usd: Usd | None
    pdf_ocr_cost_usd: Usd | None
    web_search_requests: int | None
    web_search_cost_usd: Usd | None
    is_provisional: bool
    reasoning_tokens: int | None
    audio_tokens: int | None
    structured_data: Any
    schema_validation_passed: bool | None
    fallback_used: bool | None
    models_attempted: list[str] | None
    citations: Annotated[list[CitationRead], BeforeValidator(lambda stored: stored or [])]
    notes: list[str]
    created_at: datetime
    completed_at: datetime | None


def read_message(message: Any, attachments: Sequence[Any]) -> MessageRead:
    """A message's row with the files beside it."""
    told = MessageRead.model_validate(message)
    told.attachments = [AttachmentRead.model_validate(each) for each in attachments]
    return told


class PlacedMessageRead(MessageRead):
    """A message and its siblings, what follows the same parent: the nearest 20, itself among them, oldest first."""

    sibling_ids: list[UUID]
    sibling_count: int
    sibling_index: int


class ConversationDetailRead(ConversationRead):
    """A conversation with what was said in it, oldest first.

    ``preset_newest_version`` is larger than ``preset_version`` where its preset has changed since; null if it is gone.
    """

    preset_newest_version: int | None
    messages: list[PlacedMessageRead]
