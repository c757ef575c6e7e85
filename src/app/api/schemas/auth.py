"""Bodies of ``/auth``."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import EmailStr, Field, model_validator

from app.api.schemas.common import FilledText, ReadModel, RequestBody, Text
from app.domain.presets import HANDLE_PATTERN
from app.domain.principal import Role


class RegisterBody(RequestBody):
    """A new account."""

    email: Annotated[EmailStr, Field(max_length=254)]
    password: Annotated[Text, Field(min_length=8, max_length=128)]
    full_name: Annotated[FilledText, Field(max_length=200)] | None = None


class RefreshBody(RequestBody):
    """A refresh token to trade or to end."""

    refresh_token: Annotated[Text, Field(min_length=1, max_length=500)]


class ProfileUpdate(RequestBody):
    """What to change of one's account. ``handle``: the name under which one's public presets are found."""

    full_name: Annotated[FilledText, Field(max_length=200)] | None = None
    handle: Annotated[str, Field(pattern=HANDLE_PATTERN)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give a full_name or a handle")
        if "handle" in self.model_fields_set and self.handle is None:
            raise ValueError("handle cannot be null")
        return self


class TokenRead(ReadModel):
    """What to keep after logging in; ``expires_in`` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  (OAuth2's word, no secret)
    expires_in: int


class UserRead(ReadModel):
    """An account as its owner sees it."""

    id: UUID
    email: str
    full_name: str | None
    handle: str | None
    role: Role


class RegisteredUserRead(UserRead):
    """An account that has just been created."""

    created_at: datetime
