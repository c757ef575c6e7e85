"""Closing an answered turn in one go: lease, counters, ledger, day, message and attempts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.base import Base
from app.db.models import (
    AnswerFact,
    AnswerTally,
    IdempotencyKey,
    Message,
    MessageAttempt,
    MonthlyUsageQuota,
    QuotaLease,
    SystemUsage,
    UnbilledCall,
    UsageDaily,
    UsageEvent,
    UsageMonthly,
)
from app.db.repositories.chains import Chain, Insert, Step, Update
from app.domain.ledger import DAILY_KEY, MONTH_KEY
from app.domain.quotas import Amounts
from app.domain.rollups import SYSTEM_KEY, TALLY_KEY

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """What the bills of a turn add to the books, as rows of their tables."""

    ledger: Sequence[Row]
    unbilled: Sequence[Row]
    daily: Sequence[Row] = ()
    facts: Sequence[Row] = ()
    """How the answer ended."""
    monthly: Sequence[Row] = ()
    system: Sequence[Row] = ()
    tallies: Sequence[Row] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEnd:
    """How an answer ended: what its message says from now on, its calls, and the reply kept for a request's key."""

    message_id: UUID
    values: Row
    attempts: Sequence[Row]
    request_key: str | None = None
    reply: str | None = None


class Closings:
    """Writes all that a whole answer leaves behind."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def settle(
        self,
        user_id: UUID,
        lease_id: UUID,
        *,
        period_start: datetime,
        used: Amounts,
        cache_savings_usd: Decimal,
        entries: Entries,
        end: MessageEnd,
    ) -> bool:
        """End a held lease, charge what was used and write the rest. A message deleted meanwhile stays deleted.

        False, and nothing written, if the lease is not held any more.
        """
        month = {
            "messages_used": used.messages,
            "tokens_used": used.tokens,
            "images_used": used.images,
            "cost_usd": used.cost_usd,
            "cache_savings_usd": cache_savings_usd,
        }
        steps: list[Step] = [
            (_LEASE, {"state": "settled", "if_user_id": user_id, "if_id": lease_id, "if_state": "held"}),
            (_MONTH, {**month, "if_user_id": user_id, "if_period_start": period_start}),
            *_rows("unbilled", UnbilledCall, entries.unbilled, behind="month"),
            *_rows("ledger", UsageEvent, entries.ledger, behind="month"),
            *_rows("day", UsageDaily, entries.daily, behind="month", key=DAILY_KEY, adds_up=True),
            *_rows("calendar", UsageMonthly, entries.monthly, behind="month", key=MONTH_KEY, adds_up=True),
            *_rows("fact", AnswerFact, entries.facts, behind="month"),
            (
                Update(name="message", model=Message, columns=tuple(end.values), behind="month"),
                {**end.values, "if_user_id": user_id, "if_id": end.message_id},
            ),
            *_rows("attempt", MessageAttempt, end.attempts, behind="message"),
        ]
        if end.request_key is not None:
            kept = {"reply": end.reply, "if_user_id": user_id, "if_key": end.request_key}
            steps.append((_KEPT, kept | {"if_message_id": end.message_id}))
        # What others write to as well comes last, in the order of its keys: it is held shortly, and never in a ring.
        steps += _rows("system", SystemUsage, entries.system, behind="month", key=SYSTEM_KEY, adds_up=True)
        steps += _rows("tally", AnswerTally, entries.tallies, behind="month", key=TALLY_KEY, adds_up=True)
        return "lease" in await Chain(self._connection).send(steps)


_LEASE = Update(name="lease", model=QuotaLease, columns=("state",), key=("user_id", "id", "state"))
_MONTH = Update(
    name="month",
    model=MonthlyUsageQuota,
    behind="lease",
    key=("user_id", "period_start"),
    adds=("messages_used", "tokens_used", "images_used", "cost_usd", "cache_savings_usd"),
)
_KEPT = Update(
    name="kept",
    model=IdempotencyKey,
    columns=("reply",),
    behind="month",
    key=("user_id", "key", "message_id"),
)


def _rows(name: str, model: type[Base], rows: Sequence[Row], **options: Any) -> Iterable[Step]:
    for number, row in enumerate(rows):
        yield Insert(name=f"{name}{number}", model=model, columns=tuple(row), **options), row
