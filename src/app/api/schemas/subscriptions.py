"""Bodies of ``/subscriptions``."""

from datetime import datetime

from app.api.schemas.common import ReadModel, Usd
from app.domain.plans import PlanTier


class PlanRead(ReadModel):
    """A plan on sale. Counts are per billing month; ``requests_per_minute`` null means agreed with each customer."""

    plan: PlanTier
    version: int
    price_usd_per_month: Usd
    messages_per_month: int
    tokens_per_month: int
    images_per_month: int
    max_presets: int
    max_context_tokens: int
    requests_per_minute: int | None
    web_search: bool
    image_generation: bool
    pdf_processing: bool
    audio_processing: bool
    prompt_caching: bool
    advanced_models: bool
    priority_support: bool


class PeriodRead(ReadModel):
    """One billing month ``[start, end)`` in UTC."""

    start: datetime
    end: datetime


class SubscriptionRead(ReadModel):
    """What an account is on."""

    plan: PlanTier
    plan_version: int
    status: str
    since: datetime
    cancel_at: datetime | None
    period: PeriodRead


class MeterRead(ReadModel):
    """One meter of the current period."""

    used: int
    limit: int
    remaining: int
    reserved: int


class CostMeterRead(ReadModel):
    """The money a plan may cost the house in a period, in USD."""

    used: Usd
    limit: Usd
    remaining: Usd
    reserved: Usd


class UsageOfPeriodRead(ReadModel):
    """What an account used in its current period; ``reserved`` is held by answers still running."""

    messages: MeterRead
    tokens: MeterRead
    images: MeterRead
    cost: CostMeterRead
    total_cost_usd: Usd
    cache_savings_usd: Usd
    period: PeriodRead
    resets_at: datetime
