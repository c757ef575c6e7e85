"""What was agreed with single customers in place of their plan's limits."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import PlanOverride
from app.db.repositories.dialect import insert_or
from app.domain.overrides import LimitValue, write_value


class Overrides:
    """Reads and writes ``plan_overrides``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(
        self,
        user_id: UUID,
        values: Mapping[str, LimitValue],
        *,
        reason: str,
        expires_at: datetime | None,
        now: datetime,
    ) -> None:
        """Write each value under its name, in the place of one that was there."""
        rows = [
            {
                "user_id": user_id,
                "name": name,
                "value": write_value(value),
                "reason": reason,
                "created_at": now,
                "expires_at": expires_at,
            }
            for name, value in values.items()
        ]
        statement = insert_or(self._session, PlanOverride).values(rows)
        new = statement.excluded
        changes = {each: getattr(new, each) for each in ("value", "reason", "created_at", "expires_at")}
        await self._session.execute(statement.on_conflict_do_update(index_elements=["user_id", "name"], set_=changes))

    async def remove(self, user_id: UUID, name: str) -> bool:
        """Take one back; false if there was none."""
        statement = delete(PlanOverride).where(PlanOverride.user_id == user_id, PlanOverride.name == name)
        removed = await self._session.execute(
            statement.returning(PlanOverride.name).execution_options(synchronize_session=False)
        )
        return removed.first() is not None

    async def list_rows(self, user_id: UUID) -> list[PlanOverride]:
        """All of one customer, by name, the expired ones too."""
        query = select(PlanOverride).where(PlanOverride.user_id == user_id).order_by(PlanOverride.name)
        return list((await self._session.scalars(query.execution_options(populate_existing=True))).all())
