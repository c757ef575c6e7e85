"""Plans, subscriptions, the month's counters, leases and the ledger."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.domain.plans import PlanTier


class PlanLimitsRow(Base):
    """One plan in one version; people keep the version they bought. Reference data, written by the seed."""

    __tablename__ = "plan_limits"

    plan: Mapped[PlanTier] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    price_usd_per_month: Mapped[Decimal]
    messages_per_month: Mapped[int]
    tokens_per_month: Mapped[int] = mapped_column(BigInteger)
    images_per_month: Mapped[int]
    cost_ceiling_usd_per_month: Mapped[Decimal]
    max_presets: Mapped[int]
    max_context_tokens: Mapped[int]
    requests_per_minute: Mapped[int | None]
    web_search: Mapped[bool]
    image_generation: Mapped[bool]
    pdf_processing: Mapped[bool]
    audio_processing: Mapped[bool]
    prompt_caching: Mapped[bool]
    advanced_models: Mapped[bool]
    priority_support: Mapped[bool]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint(
            "messages_per_month >= 0 AND tokens_per_month >= 0 AND images_per_month >= 0", name="limits_not_negative"
        ),
        CheckConstraint("price_usd_per_month >= 0 AND cost_ceiling_usd_per_month >= 0", name="money_not_negative"),
    )


class Subscription(Base):
    """Which plan an account is on. ``anchor_at`` is the instant its billing months are counted from.

    ``next_plan`` is in force from ``next_plan_at`` on, without anybody writing it down; ``cancel_at`` is the same
    instant where the next plan is the Free one. ``requested_plan`` waits for a confirmation.
    """

    __tablename__ = "subscriptions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    plan: Mapped[PlanTier]
    plan_version: Mapped[int]
    status: Mapped[str] = mapped_column(String(20))
    anchor_at: Mapped[datetime]
    cancel_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None] = mapped_column(String(500))
    next_plan: Mapped[PlanTier | None]
    next_plan_version: Mapped[int | None]
    next_plan_at: Mapped[datetime | None]
    requested_plan: Mapped[PlanTier | None]
    requested_plan_version: Mapped[int | None]
    requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(["plan", "plan_version"], ["plan_limits.plan", "plan_limits.version"]),
        ForeignKeyConstraint(
            ["next_plan", "next_plan_version"],
            ["plan_limits.plan", "plan_limits.version"],
            name="fk_subscriptions_next_plan_plan_limits",  # the convention makes it too long for PostgreSQL
        ),
        ForeignKeyConstraint(
            ["requested_plan", "requested_plan_version"],
            ["plan_limits.plan", "plan_limits.version"],
            name="fk_subscriptions_requested_plan_plan_limits",
        ),
        Index(None, "user_id", unique=True),
        CheckConstraint("status IN ('active', 'changing', 'cancelling')", name="status"),
        CheckConstraint(
            "(next_plan IS NULL) = (next_plan_at IS NULL) AND (next_plan_version IS NULL) = (next_plan_at IS NULL)"
            " AND (status = 'active') = (next_plan_at IS NULL)",
            name="next_plan_whole",
        ),
        CheckConstraint(
            "(requested_plan IS NULL) = (requested_at IS NULL)"
            " AND (requested_plan_version IS NULL) = (requested_at IS NULL)",
            name="requested_plan_whole",
        ),
    )


class MonthlyUsageQuota(Base):
    """What one account used in one billing period. A projection of the ledger; changed by increments only."""

    __tablename__ = "monthly_usage_quotas"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    period_start: Mapped[datetime] = mapped_column(primary_key=True)
    period_end: Mapped[datetime]
    messages_used: Mapped[int]
    tokens_used: Mapped[int] = mapped_column(BigInteger)
    images_used: Mapped[int]
    cost_usd: Mapped[Decimal]
    cache_savings_usd: Mapped[Decimal]

    __table_args__ = (
        CheckConstraint(
            "messages_used >= 0 AND tokens_used >= 0 AND images_used >= 0 AND cost_usd >= 0", name="used_not_negative"
        ),
        CheckConstraint("period_start < period_end", name="period_runs_forward"),
    )


class QuotaLease(Base):
    """Amounts held for a running turn. Past ``expires_at`` a held lease counts for nothing.

    ``generation_id`` is the newest call upstream, written as soon as it is known: whatever becomes of this process,
    its bill can be asked for.
    """

    __tablename__ = "quota_leases"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID]
    plan: Mapped[PlanTier]
    model: Mapped[str] = mapped_column(String(200))
    generation_id: Mapped[str | None] = mapped_column(String(200))
    period_start: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(20))
    messages: Mapped[int]
    tokens: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int]
    cost_usd: Mapped[Decimal]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "user_id", "state", "expires_at"),
        Index(None, "state", "expires_at"),
        CheckConstraint("state IN ('held', 'settled', 'released', 'expired')", name="state"),
        CheckConstraint("messages >= 0 AND tokens >= 0 AND images >= 0 AND cost_usd >= 0", name="held_not_negative"),
    )


class UnbilledCall(Base):
    """A call whose bill, or cache discount, is not known yet. It is looked up until it is; ``next_try_at`` NULL means
    given up.

    The token counts are those the ledger has already: the late bill adds what is missing. ``cache_discount_usd`` is
    our own reckoning, which no sum has in it yet: it counts where the record does not tell.
    """

    __tablename__ = "unbilled_calls"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    attempt_id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID | None]
    kind: Mapped[str] = mapped_column(String(20))
    plan: Mapped[PlanTier]
    model: Mapped[str] = mapped_column(String(200))
    provider: Mapped[str | None] = mapped_column(String(100))
    generation_id: Mapped[str] = mapped_column(String(200))
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cache_discount_usd: Mapped[Decimal | None]
    created_at: Mapped[datetime]
    tries: Mapped[int]
    next_try_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "next_try_at"),)


class UsageEvent(Base):
    """The ledger: a line for each billed thing, appended once, never changed (triggers refuse it). It outlives what it
    bills."""

    __tablename__ = "usage_events"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(String(20))
    message_id: Mapped[UUID | None]
    plan: Mapped[PlanTier]
    model: Mapped[str] = mapped_column(String(200))
    provider: Mapped[str | None] = mapped_column(String(100))
    generation_id: Mapped[str | None] = mapped_column(String(200))
    period_start: Mapped[datetime]
    created_at: Mapped[datetime]
    messages: Mapped[int]
    images: Mapped[int]
    searches: Mapped[int] = mapped_column(server_default="0")
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cached_tokens_read: Mapped[int]
    cached_tokens_write: Mapped[int]
    cost_usd: Mapped[Decimal | None]
    cache_discount_usd: Mapped[Decimal | None]

    __table_args__ = (
        Index(None, "user_id", "attempt_id", "kind", unique=True),
        Index(None, "user_id", "created_at"),
        CheckConstraint("cached_tokens_read + cached_tokens_write <= prompt_tokens", name="cached_within_prompt"),
        CheckConstraint("cost_usd >= 0", name="cost_not_negative"),
        CheckConstraint(
            "messages >= 0 AND images >= 0 AND prompt_tokens >= 0 AND completion_tokens >= 0"
            " AND cached_tokens_read >= 0 AND cached_tokens_write >= 0",
            name="counts_not_negative",
        ),
    )


class UsageDaily(Base):
    """Day by day sums of the ledger (UTC days) for charts. A projection; changed by increments only."""

    __tablename__ = "usage_daily"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    plan: Mapped[PlanTier] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    requests: Mapped[int]
    messages: Mapped[int]
    images: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens_read: Mapped[int] = mapped_column(BigInteger)
    cached_tokens_write: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal]
    cache_discount_usd: Mapped[Decimal]

    __table_args__ = (Index(None, "day"),)
