"""Sums for charts, and the record of how answers ended that they are made of."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Index, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.domain.plans import PlanTier

_UNFOLDED = text("shard < 16")
"""Rows that are still written to; see ``app/domain/rollups.py``."""


class AnswerFact(Base):
    """How one answer ended, by numbers and names only; ``id`` is its message's. Appended once (triggers refuse the
    rest); it outlives the message."""

    __tablename__ = "answer_facts"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    ended_at: Mapped[datetime]
    plan: Mapped[PlanTier]
    model: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(60))
    begins_conversation: Mapped[bool]
    is_truncated: Mapped[bool]
    fallback_used: Mapped[bool]
    schema_passed: Mapped[bool | None]
    cache_outcome: Mapped[str | None] = mapped_column(String(20))
    preset_id: Mapped[UUID | None]
    first_token_ms: Mapped[int | None]
    latency_ms: Mapped[int | None]


class UsageMonthly(Base):
    """One account's calendar month (UTC) on one plan. Bit ``n`` of ``active_days``: it asked on day ``n + 1``."""

    __tablename__ = "usage_monthly"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    plan: Mapped[PlanTier] = mapped_column(primary_key=True)
    active_days: Mapped[int]
    requests: Mapped[int]
    messages: Mapped[int]
    images: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens_read: Mapped[int] = mapped_column(BigInteger)
    cached_tokens_write: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal]
    cache_discount_usd: Mapped[Decimal]

    __table_args__ = (Index(None, "month"),)


class SystemUsage(Base):
    """The house's half hour ``slot`` (counted from 1970): sums of ledger lines and ended answers, in shards."""

    __tablename__ = "system_usage"

    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    plan: Mapped[PlanTier] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens_read: Mapped[int] = mapped_column(BigInteger)
    cached_tokens_write: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal]
    cache_discount_usd: Mapped[Decimal]
    conversations: Mapped[int]
    answers: Mapped[int]
    failed: Mapped[int]
    stopped: Mapped[int]
    truncated: Mapped[int]
    fallbacks: Mapped[int]
    schema_answers: Mapped[int]
    schema_failures: Mapped[int]

    __table_args__ = (Index(None, "slot", postgresql_where=_UNFOLDED, sqlite_where=_UNFOLDED),)


class AnswerTally(Base):
    """How many answers of a UTC day had a ``value`` of a ``measure``: a speed's bucket, a cache outcome, an error."""

    __tablename__ = "answer_tallies"

    day: Mapped[date] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    plan: Mapped[PlanTier] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    measure: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[str] = mapped_column(String(60), primary_key=True)
    answers: Mapped[int]

    __table_args__ = (Index(None, "day", postgresql_where=_UNFOLDED, sqlite_where=_UNFOLDED),)
