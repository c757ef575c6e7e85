"""Pieces that bodies share."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from app.core.text import is_storable
from app.domain.schema_limits import refuse_schema


class RequestBody(BaseModel):
    """A body from a client: an unknown field is a mistake worth telling."""

    model_config = ConfigDict(extra="forbid")


class ReadModel(BaseModel):
    """An answer, read off the attributes of what a service returned."""

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


class ErrorBody(BaseModel):
    """Every error: a machine code, words for a person, and fields where they help."""

    error: str
    detail: str


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("holds characters that cannot be stored")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _measured(schema: dict[str, Any]) -> dict[str, Any]:
    if refusal := refuse_schema(schema):
        raise ValueError(refusal)
    return schema


Text = Annotated[str, AfterValidator(_storable)]
FilledText = Annotated[Text, AfterValidator(_not_blank)]
Temperature = Annotated[float, Field(ge=0, le=2, strict=True, allow_inf_nan=False)]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
ModelId = Annotated[Text, Field(min_length=1, max_length=200)]
Usd = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
JsonSchema = Annotated[dict[str, Any], AfterValidator(_measured)]
