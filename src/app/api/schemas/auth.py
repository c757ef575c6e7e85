"""Bodies of ``/auth``."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import EmailStr, Field

from app.api.schemas.common import FilledText, ReadModel, RequestBody, Text
from app.domain.principal import Role


class RegisterBody(RequestBody):
    """A new account."""

    email: Annotated[EmailStr, Field(max_length=254)]
    password: Annotated[Text, Field(min_length=8, max_length=128)]
    full_name: Annotated[FilledText, Field(max_length=200)] | None = None


class RefreshBody(RequestBody):
    """A refresh token to trade or to end."""

    refresh_token: Annotated[Text, Field(min_length=1, max_length=500)]


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
    role: Role


class RegisteredUserRead(UserRead):
    """An account that has just been created."""

    created_at: datetime
