"""Bodies of ``/subscriptions``."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from app.api.schemas.common import FilledText, ReadModel, RequestBody, Usd
from app.domain.entitlements import Entitlement, Why
from app.domain.lifecycle import SubscriptionStatus
from app.domain.plans import PlanTier


class CancelBody(RequestBody):
    """Why somebody leaves; telling is free."""

    reason: Annotated[FilledText, Field(max_length=500)] | None = None


class ChangeBody(RequestBody):
    """The plan to move to."""

    plan: PlanTier


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


class DatedPlanRead(ReadModel):
    """A plan and an instant: when it takes effect, or when it was asked for."""

    plan: PlanTier
    version: int
    at: datetime


class SubscriptionRead(ReadModel):
    """What an account is on; ``scheduled`` takes effect by itself, ``requested`` waits for a confirmation."""

    plan: PlanTier
    plan_version: int
    status: SubscriptionStatus
    since: datetime
    cancel_at: datetime | None
    cancel_reason: str | None
    period: PeriodRead
    scheduled: DatedPlanRead | None
    requested: DatedPlanRead | None


class ConfirmationRead(ReadModel):
    """Who confirms an upgrade, and where one goes for it, if anywhere."""

    by: str
    url: str | None


class ChangeRead(SubscriptionRead):
    """The subscription after a wish to change; ``confirmation`` is null where nothing has to be confirmed."""

    confirmation: ConfirmationRead | None


class LimitChangeRead(ReadModel):
    """One limit or feature, before and after."""

    name: str
    now: bool | int | None
    then: bool | int | None


class OverLimitRead(ReadModel):
    """What is used today and would not fit."""

    name: str
    used: int
    limit: int


class ChangePreviewRead(ReadModel):
    """What a change would bring; ``takes_effect_at`` null means as soon as it is confirmed."""

    kind: Literal["upgrade", "downgrade", "cancellation"]
    plan: PlanTier
    version: int
    takes_effect_at: datetime | None
    price_usd_per_month: Usd
    price_now_usd_per_month: Usd
    limits: list[LimitChangeRead]
    over_limit: list[OverLimitRead]


class ExplanationRead(ReadModel):
    """May I, and why. Counts are null where nothing is counted; money is USD."""

    feature: Entitlement
    allowed: bool
    why: Why
    detail: str
    plan: PlanTier
    available_in: PlanTier | None
    expires_at: datetime | None
    limit: Usd | None
    used: Usd | None
    resets_at: datetime | None


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
