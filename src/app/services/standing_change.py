"""One change of one subscription: locked, decided, written and audited in the caller's transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from app.db.models import Subscription
from app.db.repositories.subscriptions import standing_of, write_standing
from app.db.unit_of_work import UnitOfWork
from app.domain.audit import Action, Actor, ActorKind
from app.domain.lifecycle import PlanVersion, Standing, as_record, standing_at
from app.domain.plans import PlanTier


@dataclass(frozen=True, slots=True)
class StandingChange:
    """A locked subscription; ``standing`` is how it stands ``now``, due changes in force."""

    uow: UnitOfWork
    row: Subscription
    standing: Standing
    now: datetime

    @classmethod
    async def open(cls, uow: UnitOfWork, user_id: UUID, *, now: datetime) -> Self:
        """Lock the account's subscription until the transaction ends; raises ``NotFound``."""
        row = await uow.subscriptions.require(user_id, for_update=True)
        return cls(uow, row, standing_at(standing_of(row), now), now)

    async def find(self, plan: PlanTier, version: int | None = None) -> PlanVersion:
        """A plan as it is sold, the newest version if none is named."""
        return PlanVersion(plan, (await self.uow.subscriptions.require_version(plan, version)).version)

    async def write(self, after: Standing, action: Action, actor: Actor, *, reason: str | None = None) -> None:
        """Write, audit and commit. What a user repeats changes nothing and is not told again."""
        if after == self.standing and actor.kind is ActorKind.USER:
            return
        write_standing(self.row, after, now=self.now)
        await self.uow.audit.record(
            actor,
            action,
            now=self.now,
            user_id=self.row.user_id,
            before=as_record(self.standing),
            after=as_record(after),
            reason=reason,
        )
        await self.uow.commit()
