"""Bodies of ``/analytics``."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from app.api.schemas.common import ReadModel, Usd
from app.domain.plans import PlanTier

Rate = Annotated[float | None, Field(description="A part of one; null of nothing")]


class RangeRead(ReadModel):
    """The days a chart is about, both ends included."""

    first: Annotated[date, Field(serialization_alias="from")]
    last: Annotated[date, Field(serialization_alias="to")]
    time_zone: str


class MetricRead(ReadModel):
    """A number, the one of as many days before, and the growth as a part of that."""

    metric: str
    value: float | None
    previous: float | None
    change: Rate


class SystemStatsRead(ReadModel):
    """``GET /analytics/system-stats``."""

    range: RangeRead
    previous_range: RangeRead
    items: list[MetricRead]


class UsageNumbers(ReadModel):
    """Sums of a chart's row. ``tokens`` are prompt and completion; cached ones are parts of the prompt's."""

    requests: int
    messages: int
    images: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int
    cached_tokens_read: int
    cached_tokens_write: int
    cache_hit_rate: Rate
    cost_usd: Usd
    cache_savings_usd: Usd


class PlanRead(ReadModel):
    """One plan."""

    plan: PlanTier
    users: int
    mrr_usd: Usd
    revenue_usd: Usd
    margin_usd: Usd
    messages: int
    tokens: int
    cost_usd: Usd


class PlanTotalsRead(ReadModel):
    """All plans, and who moved between them."""

    users: int
    paid_users: int
    paid_share: Rate
    mrr_usd: Usd
    revenue_usd: Usd
    margin_usd: Usd
    messages: int
    tokens: int
    cost_usd: Usd
    conversions: int
    conversion_rate: Rate
    churned: int
    churn_rate: Rate


class PlanDistributionRead(ReadModel):
    """``GET /analytics/plan-distribution``."""

    range: RangeRead
    items: list[PlanRead]
    totals: PlanTotalsRead


class TrendRead(UsageNumbers):
    """One day or month, of one group where groups were asked for."""

    bucket: date
    group: str | None
    active_users: int | None
    conversations: int
    failed: int


class UsageTrendsRead(ReadModel):
    """``GET /analytics/usage-trends``."""

    range: RangeRead
    items: list[TrendRead]
    totals: UsageNumbers


class TopUserRead(UsageNumbers):
    """One account; without address and plan where it was deleted."""

    user_id: UUID
    email: str | None
    plan: PlanTier | None
    revenue_usd: Usd
    margin_usd: Usd


class TopTotalsRead(ReadModel):
    """What the listed accounts come to."""

    messages: int
    tokens: int
    images: int
    cost_usd: Usd
    cache_savings_usd: Usd
    revenue_usd: Usd
    margin_usd: Usd


class TopUsersRead(ReadModel):
    """``GET /analytics/top-users``."""

    range: RangeRead
    items: list[TopUserRead]
    totals: TopTotalsRead


class QualityNumbers(UsageNumbers):
    """Sums, and how answers ended."""

    answers: int
    failed: int
    stopped: int
    fallback_rate: Rate
    truncation_rate: Rate
    error_rate: Rate
    schema_failure_rate: Rate


class ModelUsageRow(QualityNumbers):
    """One model. Times are within a tenth of the true ones."""

    model: str
    first_token_p50_ms: int | None
    first_token_p95_ms: int | None
    latency_p50_ms: int | None
    latency_p95_ms: int | None
    latency_p99_ms: int | None
    errors: dict[str, int]
    breaker: Literal["closed", "hosts_open", "open"]


class ModelUsageRead(ReadModel):
    """``GET /analytics/model-usage``."""

    range: RangeRead
    items: list[ModelUsageRow]
    totals: QualityNumbers


class CacheTotalsRead(ReadModel):
    """How much of the prompts came from a cache; ``outcomes`` counts answers."""

    requests: int
    prompt_tokens: int
    cached_tokens_read: int
    cached_tokens_write: int
    cache_hit_rate: Rate
    cache_savings_usd: Usd
    outcomes: dict[str, int]


class CacheRow(CacheTotalsRead):
    """One day, model or plan."""

    group: str


class CachePerformanceRead(ReadModel):
    """``GET /analytics/cache-performance``."""

    range: RangeRead
    items: list[CacheRow]
    totals: CacheTotalsRead
