"""Who is behind a token: asked with nearly every request, so in plain columns."""

from uuid import UUID

from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import AccountGone
from app.db.models import User
from app.domain.principal import Principal

_ACTIVE = select(User.id, User.email, User.role, User.full_name, User.handle).where(
    User.id == bindparam("user_id", type_=Uuid()), User.is_active
)


class Principals:
    """Reads ``users``."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, user_id: UUID) -> Principal | None:
        """The account, if it is switched on."""
        row = (await self._connection.execute(_ACTIVE, {"user_id": user_id})).first()
        return None if row is None else Principal(**row._mapping)

    async def require(self, user_id: UUID) -> Principal:
        """The account; raises :class:`AccountGone` unless it is there and switched on."""
        principal = await self.get(user_id)
        if principal is None:
            raise AccountGone
        return principal
