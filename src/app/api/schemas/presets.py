"""Bodies of ``/presets``."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, PlainSerializer, model_validator

from app.api.schemas.common import FilledText, JsonSchema, MaxTokens, ModelId, ReadModel, RequestBody, Temperature, Text
from app.domain.preset_variables import MOST_CHARS, MOST_VARIABLES
from app.domain.presets import MOST_FALLBACKS
from app.services.presets_service import PresetView

Name = Annotated[FilledText, Field(max_length=100)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
Description = Annotated[FilledText, Field(max_length=500)]
SystemPrompt = Annotated[FilledText, Field(max_length=100_000)]
TopP = Annotated[float, Field(gt=0, le=1, strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Fallbacks = Annotated[list[ModelId], Field(max_length=MOST_FALLBACKS)]
Number = Annotated[float, Field(allow_inf_nan=False)]
MOST_VERSIONS = 2**31 - 1
"""What its column holds."""
VersionNumber = Annotated[int, Field(ge=1, le=MOST_VERSIONS, strict=True)]
ShortText = Annotated[Text, Field(max_length=MOST_CHARS)]


class Reasoning(RequestBody):
    """How much a model is to think before it answers."""

    effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=200_000, strict=True)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.effort is None) == (self.max_tokens is None):
            raise ValueError("give either an effort or max_tokens")
        return self


class Variable(RequestBody):
    """A typed blank in the system prompt, written ``{{name}}`` there; without a default it has to be filled."""

    type: Literal["string", "number", "boolean", "enum"]
    description: ShortText | None = None
    default: ShortText | Flag | Number | None = None
    options: Annotated[list[ShortText], Field(min_length=1, max_length=50)] | None = None
    minimum: Number | None = None
    maximum: Number | None = None
    max_length: Annotated[int, Field(ge=1, le=5_000)] | None = None


def _given(body: BaseModel) -> dict[str, Any]:
    """Without what was left out or null: the two mean the same, and make no other version."""
    return body.model_dump(exclude_none=True)


Variables = Annotated[
    dict[Text, Annotated[Variable, PlainSerializer(_given)]],
    Field(max_length=MOST_VARIABLES),
]


class PresetFields(RequestBody):
    """What every version of a preset may hold besides name and model."""

    description: Description | None = None
    system_prompt: SystemPrompt | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    fallback_models: Fallbacks | None = None
    reasoning: Annotated[Reasoning, PlainSerializer(_given)] | None = None
    response_schema: JsonSchema | None = None
    variables: Variables | None = None


class PresetCreate(PresetFields):
    """A named model configuration; the slug is unique among its owner's."""

    name: Name
    slug: Slug
    model: ModelId
    web_search: Flag = False
    is_public: Flag = False


class PresetUpdate(PresetFields):
    """What to change; what is left out stays. ``expected_version``: refuse if it is not the newest any more."""

    name: Name | None = None
    slug: Slug | None = None
    model: ModelId | None = None
    web_search: Flag | None = None
    is_public: Flag | None = None
    expected_version: VersionNumber | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        given = self.model_fields_set - {"expected_version"}
        if not given:
            raise ValueError("give something to change")
        for name in ("name", "slug", "model", "web_search", "is_public"):
            if name in given and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self

    def changes(self) -> dict[str, Any]:
        """What was given, null where something is to be taken away."""
        return self.model_dump(exclude_unset=True, exclude={"expected_version"})


class Rollback(RequestBody):
    """Which version to hold again, in a new one."""

    version: VersionNumber
    expected_version: VersionNumber | None = None


class StableVersion(RequestBody):
    """Which version ``@stable`` means; null: none."""

    version: VersionNumber | None


class PromptWarning(ReadModel):
    """Something in a system prompt that keeps prompts out of caches."""

    line: int
    rule: str
    text: str
    advice: str
    breaks: bool


class PresetContentRead(ReadModel):
    """What a version holds."""

    name: str
    model: str
    description: str | None
    system_prompt: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    fallback_models: list[str] | None
    reasoning: dict[str, Any] | None
    response_schema: dict[str, Any] | None
    web_search: bool
    variables: dict[str, dict[str, Any]] | None


class PresetRead(PresetContentRead):
    """A preset in its newest version; ``address`` stands in place of a model, ``origin_id`` is whose copy it is."""

    id: UUID
    slug: str
    address: str
    version: int
    stable_version: int | None
    is_public: bool
    is_own: bool
    is_read_only: bool
    is_model_retired: bool
    successor: str | None
    origin_id: UUID | None
    created_at: datetime
    updated_at: datetime
    warnings: list[PromptWarning]


class PresetPageRead(ReadModel):
    """A page of presets, newest first; ``next_cursor`` is null on the last one."""

    items: list[PresetRead]
    next_cursor: str | None


class PresetVersionRead(BaseModel):
    """One version; it never changes."""

    version: int
    created_at: datetime
    is_stable: bool
    content: PresetContentRead


class ChangeRead(ReadModel):
    """A field in which two versions differ."""

    field: str
    before: Any
    after: Any


class DifferenceRead(BaseModel):
    """What changed from one version to another."""

    from_version: int
    to_version: int
    changes: list[ChangeRead]


def read_preset(view: PresetView) -> PresetRead:
    """A preset with what depends on who looks at it."""
    told = {name: getattr(view, name) for name in _OF_VIEW} | {
        name: getattr(view.preset, name) for name in PresetRead.model_fields if name not in _OF_VIEW
    }
    told["warnings"] = [PromptWarning.model_validate(each) for each in view.warnings]
    return PresetRead.model_validate(told)


def read_version(
    number: int, content: Mapping[str, Any], created_at: datetime, *, stable: int | None
) -> PresetVersionRead:
    """A version as its owner sees it."""
    whole = {name: content.get(name) for name in PresetContentRead.model_fields} | {
        "web_search": content.get("web_search", False)
    }
    return PresetVersionRead(
        version=number,
        created_at=created_at,
        is_stable=number == stable,
        content=PresetContentRead.model_validate(whole),
    )


_OF_VIEW = ("address", "is_own", "is_read_only", "is_model_retired", "successor", "warnings")
