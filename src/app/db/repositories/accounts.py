"""Accounts and refresh tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import RefreshTokenRow, User
from app.domain.presets import handle_without_name


class Accounts:
    """Reads and writes ``users`` and ``refresh_tokens``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, user: User) -> User:
        """Add an account; a taken e-mail shows as IntegrityError on flush."""
        self._session.add(user)
        return user

    async def get_by_email(self, email: str) -> User | None:
        """The account with this (lower-case) e-mail address."""
        found: User | None = await self._session.scalar(select(User).where(User.email == email))
        return found

    async def get(self, user_id: UUID) -> User | None:
        """The account."""
        return await self._session.get(User, user_id)

    async def ensure_handle(self, user_id: UUID) -> None:
        """Give an account that is about to publish a name which says nothing of its owner, unless it has one."""
        handle = handle_without_name(user_id)
        query = update(User).where(User.id == user_id, User.handle.is_(None)).values(handle=handle)
        await self._session.execute(query)

    async def lock(self, user_id: UUID) -> None:
        """Let the sessions of an account change one after another: who ends them must see the newest token."""
        await self._session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))

    def add_refresh_token(self, token: RefreshTokenRow) -> None:
        """Remember a refresh token that has just been issued."""
        self._session.add(token)

    async def get_refresh_token(self, user_id: UUID, token_id: UUID) -> RefreshTokenRow | None:
        """One token of one account."""
        return await self._session.get(RefreshTokenRow, (user_id, token_id))

    async def use_refresh_token(self, token: RefreshTokenRow, *, now: datetime) -> bool:
        """Spend the token; false if somebody spent or revoked it before."""
        spent = await self._session.execute(
            update(RefreshTokenRow)
            .where(
                RefreshTokenRow.user_id == token.user_id,
                RefreshTokenRow.id == token.id,
                RefreshTokenRow.used_at.is_(None),
                RefreshTokenRow.revoked_at.is_(None),
            )
            .values(used_at=now)
            .returning(RefreshTokenRow.id)
            .execution_options(synchronize_session=False)
        )
        return spent.first() is not None

    async def revoke_family(self, user_id: UUID, family_id: UUID, *, now: datetime) -> None:
        """End every token that descends from one login."""
        await self._session.execute(
            update(RefreshTokenRow)
            .where(
                RefreshTokenRow.user_id == user_id,
                RefreshTokenRow.family_id == family_id,
                RefreshTokenRow.revoked_at.is_(None),
            )
            .values(revoked_at=now)
            .execution_options(synchronize_session=False)
        )

    async def revoke_all(self, user_id: UUID, *, now: datetime) -> None:
        """End every session of an account, e.g. after its password was changed."""
        await self._session.execute(
            update(RefreshTokenRow)
            .where(RefreshTokenRow.user_id == user_id, RefreshTokenRow.revoked_at.is_(None))
            .values(revoked_at=now)
            .execution_options(synchronize_session=False)
        )
