"""Accounts and their refresh tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.domain.principal import Principal, Role


class User(Base):
    """An account. The e-mail address is kept in lower case and is unique."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    full_name: Mapped[str | None] = mapped_column(String(200))
    handle: Mapped[str | None] = mapped_column(String(40), unique=True)
    """The name under which others find what the account makes public."""
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[Role]
    is_active: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    def as_principal(self) -> Principal:
        """The account as services see it."""
        return Principal(id=self.id, email=self.email, role=self.role, full_name=self.full_name, handle=self.handle)


class RefreshTokenRow(Base):
    """One link of a rotation chain (``family_id``); a link used twice gives the whole family away."""

    __tablename__ = "refresh_tokens"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    family_id: Mapped[UUID]
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "user_id", "family_id"),)
