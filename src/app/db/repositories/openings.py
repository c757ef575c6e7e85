"""Opening a turn: what it has to know in one statement, what it writes in another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, Uuid, and_, bindparam, cast, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import NotFound
from app.db.base import UTCDateTime
from app.db.models import (
    Attachment,
    Conversation,
    Message,
    MessageAttachment,
    MonthlyUsageQuota,
    PlanLimitsRow,
    PlanOverride,
    QuotaLease,
    Subscription,
    User,
)
from app.db.repositories.chains import Chain, Insert, Step, Update
from app.db.repositories.quotas import Counters
from app.db.repositories.subscriptions import NAMES_PLAN, TERMS_COLUMNS, CurrentPlan, current_plan, terms_of
from app.domain.periods import Period, period_containing
from app.domain.quotas import Amounts

_USER = bindparam("user_id", type_=Uuid())
_NOW = bindparam("now", type_=UTCDateTime())

_VERSION = cast(literal_column("monthly_usage_quotas.xmin"), Text)
"""PostgreSQL's own name for a version of a row: another one after each change, whoever made it."""


@dataclass(frozen=True, slots=True)
class Means:
    """What an account may do and how much of it is used, as it stood when it was read.

    ``version`` is of the period's counters, ``None`` where there are none yet: they are locked by nobody until a turn
    is written, and that turn is not written if they have changed meanwhile.
    """

    plan: CurrentPlan
    period: Period
    counters: Counters | None
    held: Amounts
    version: str | None


class Opening(Enum):
    """How writing a turn ended. Unless it was written, nothing was."""

    WRITTEN = auto()
    OVERTAKEN = auto()
    """Something was reserved or charged since the means were read: read them again."""
    CONVERSATION_GONE = auto()


class Openings:
    """Reads what decides whether a turn may open, and writes ``quota_leases`` and ``messages`` if it may."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get_means(self, user_id: UUID, *, now: datetime) -> Means | None:
        """An account's means at ``now``; ``None`` unless it is active; :class:`NotFound` without a subscription."""
        query = _means(self._connection.dialect.name)
        rows = (await self._connection.execute(query, {"user_id": user_id, "now": now})).all()
        if not rows:
            return None
        if rows[0].plan is None:
            raise NotFound("This account has no subscription.")
        plan = current_plan(terms_of(rows), now)
        period = period_containing(plan.anchor_at, now)
        row = next((each for each in rows if each.counted_from == period.start), None)
        if row is None:
            return Means(plan, period, None, Amounts(), None)
        counters = Counters(row.messages_used, row.tokens_used, row.images_used, row.cost_usd, row.cache_savings_usd)
        held = Amounts(
            messages=int(row.messages_held or 0),
            tokens=int(row.tokens_held or 0),
            images=int(row.images_held or 0),
            cost_usd=row.cost_held or Decimal(0),
        )
        return Means(plan, period, counters, held, row.row_version)

    async def write(
        self,
        means: Means,
        *,
        lease: Mapping[str, Any],
        conversation_id: UUID,
        conversation: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        attachment_ids: Sequence[UUID] = (),
    ) -> Opening:
        """Take the lease, change the conversation and add the messages, if the means are still what they were.

        The files stand beside the first of the messages, in this order.
        """
        user_id, period = lease["user_id"], means.period
        owner = {"user_id": user_id, "period_start": period.start}
        steps: list[Step] = [
            (_RESERVED, {**owner, "period_end": period.end, **_UNUSED, "seen": means.version}),
            (
                Update(name="talk", model=Conversation, columns=tuple(conversation), behind="month"),
                {**conversation, "if_user_id": user_id, "if_id": conversation_id},
            ),
            (Insert(name="lease", model=QuotaLease, columns=tuple(lease), behind="talk"), lease),
        ]
        for number, row in enumerate(messages):
            steps.append((Insert(name=f"said{number}", model=Message, columns=tuple(row), behind="talk"), row))
        sent_at = conversation["updated_at"]
        for position, attachment_id in enumerate(attachment_ids):
            file = {"sent_at": sent_at, "if_user_id": user_id, "if_id": attachment_id}
            sent = Update(name=f"sent{position}", model=Attachment, columns=("sent_at",), behind="talk")
            place = {"user_id": user_id, "message_id": messages[0]["id"], "position": position}
            tie = place | {"attachment_id": attachment_id}
            tied = Insert(name=f"tied{position}", model=MessageAttachment, columns=tuple(tie), behind="talk")
            steps += [(sent, file), (tied, tie)]
        found = await Chain(self._connection).send(steps)
        if "lease" in found:
            return Opening.WRITTEN
        return Opening.CONVERSATION_GONE if "month" in found else Opening.OVERTAKEN

    async def note_generation(self, user_id: UUID, lease_id: UUID, generation_id: str) -> None:
        """Remember under which id OpenRouter will bill the call that runs now."""
        noted = {"generation_id": generation_id, "if_user_id": user_id, "if_id": lease_id}
        await Chain(self._connection).send([(_NOTED, noted)])


_NOTED = Update(name="noted", model=QuotaLease, columns=("generation_id",))
_UNUSED = {
    "messages_used": 0,
    "tokens_used": 0,
    "images_used": 0,
    "cost_usd": Decimal(0),
    "cache_savings_usd": Decimal(0),
}
_RESERVED = Insert(
    name="month",
    model=MonthlyUsageQuota,
    columns=("user_id", "period_start", "period_end", *_UNUSED),
    key=("user_id", "period_start"),
    seen=_VERSION,
)


@lru_cache
def _means(dialect: str) -> Select[Any]:
    """The terms, with the counters of the period they are in, and what running turns hold. Expired leases do not."""
    held = (
        select(
            QuotaLease.period_start,
            func.sum(QuotaLease.messages).label("messages"),
            func.sum(QuotaLease.tokens).label("tokens"),
            func.sum(QuotaLease.images).label("images"),
            func.sum(QuotaLease.cost_usd).label("cost_usd"),
        )
        .where(QuotaLease.user_id == _USER, QuotaLease.state == "held", QuotaLease.expires_at > _NOW)
        .group_by(QuotaLease.period_start)
        .subquery()
    )
    month = MonthlyUsageQuota
    version: ColumnElement[Any] = _VERSION if dialect == "postgresql" else literal_column("NULL", Text)
    return (
        select(
            *TERMS_COLUMNS,
            month.period_start.label("counted_from"),
            month.messages_used,
            month.tokens_used,
            month.images_used,
            month.cost_usd,
            month.cache_savings_usd,
            version.label("row_version"),
            held.c.messages.label("messages_held"),
            held.c.tokens.label("tokens_held"),
            held.c.images.label("images_held"),
            held.c.cost_usd.label("cost_held"),
        )
        .select_from(User)
        .outerjoin(Subscription, Subscription.user_id == User.id)
        .outerjoin(PlanLimitsRow, NAMES_PLAN)
        .outerjoin(PlanOverride, PlanOverride.user_id == User.id)
        .outerjoin(month, and_(month.user_id == User.id, month.period_start <= _NOW, month.period_end > _NOW))
        .outerjoin(held, held.c.period_start == month.period_start)
        .where(User.id == _USER, User.is_active)
    )
