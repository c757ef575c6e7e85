"""The audit log: written and read, never changed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, null, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import new_id
from app.db.models import AuditEntry
from app.domain.audit import Action, Actor


class AuditLog:
    """Reads and writes ``audit_log``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def record(
        self,
        actor: Actor,
        action: Action,
        *,
        now: datetime,
        user_id: UUID | None = None,
        before: Any = None,
        after: Any = None,
        reason: str | None = None,
    ) -> None:
        """Append who did what to whom, in the transaction that does it. ``before`` and ``after`` are plain JSON."""
        entry = {
            "id": new_id(),
            "created_at": now,
            "actor": actor.kind.value,
            "actor_id": actor.user_id,
            "action": action.value,
            "user_id": user_id,
            "before": null() if before is None else before,
            "after": null() if after is None else after,
            "reason": reason,
            "request_id": actor.request_id,
        }
        await self._session.execute(insert(AuditEntry).values(**entry))

    async def list_page(self, *, limit: int, before: UUID | None, user_id: UUID | None) -> Sequence[AuditEntry]:
        """At most ``limit`` entries older than ``before``, newest first; of one account if ``user_id`` is given."""
        query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditEntry.id < before)
        if user_id is not None:
            query = query.where(AuditEntry.user_id == user_id)
        return (await self._session.scalars(query)).all()
