"""Who is asking."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What an account may do: chat, or also operate."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated account behind a request."""

    id: UUID
    email: str
    role: Role
    full_name: str | None = None
    handle: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether operator endpoints are open to this account."""
        return self.role is Role.ADMIN
