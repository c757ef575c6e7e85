"""Bodies of ``/admin``."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from app.api.schemas.common import FilledText, ReadModel, RequestBody, Usd
from app.api.schemas.subscriptions import DatedPlanRead, PeriodRead
from app.domain.audit import Action, ActorKind
from app.domain.lifecycle import SubscriptionStatus
from app.domain.plans import PlanTier
from app.domain.principal import Role


def _in_utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the calendar") from None


Reason = Annotated[FilledText, Field(max_length=500)]
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Count = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Switch = Annotated[bool, Field(strict=True)]


class PlanSet(RequestBody):
    """The plan an account is put on at once; without ``version``, the one requested or the newest."""

    plan: PlanTier
    version: Annotated[int, Field(ge=1, lt=2**31, strict=True)] | None = None
    reason: Reason


class OverriddenLimits(RequestBody):
    """Fields of the plan with the values that hold in their place; what is left out stays as it is."""

    messages_per_month: Count | None = None
    tokens_per_month: Annotated[int, Field(ge=0, lt=10**15, strict=True)] | None = None
    images_per_month: Count | None = None
    cost_ceiling_usd_per_month: Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=12)] | None = None
    max_presets: Count | None = None
    max_context_tokens: Count | None = None
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    web_search: Switch | None = None
    image_generation: Switch | None = None
    pdf_processing: Switch | None = None
    audio_processing: Switch | None = None
    prompt_caching: Switch | None = None
    advanced_models: Switch | None = None
    priority_support: Switch | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("name at least one limit or feature")
        return self


class OverridesSet(RequestBody):
    """What is agreed with one customer, until ``expires_at`` (not included) or for good."""

    limits: OverriddenLimits
    expires_at: Instant | None = None
    reason: Reason


class UsedRead(ReadModel):
    """What an account used in its current period."""

    messages: int
    tokens: int
    images: int
    cost_usd: Usd


class AccountSubscriptionRead(ReadModel):
    """What an account is on."""

    plan: PlanTier
    plan_version: int
    status: SubscriptionStatus
    period: PeriodRead
    scheduled: DatedPlanRead | None
    requested: DatedPlanRead | None
    cancel_reason: str | None
    used: UsedRead


class AccountRead(ReadModel):
    """An account as operators see it."""

    id: UUID
    email: str
    full_name: str | None
    role: Role
    is_active: bool
    created_at: datetime
    subscription: AccountSubscriptionRead | None


class AccountPageRead(ReadModel):
    """A page of accounts, newest first."""

    items: list[AccountRead]
    next_cursor: UUID | None


class LimitsRead(ReadModel):
    """The limits in force, overrides included."""

    plan: PlanTier
    price_usd_per_month: Usd
    messages_per_month: int
    tokens_per_month: int
    images_per_month: int
    cost_ceiling_usd_per_month: Usd
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


class OverrideRead(ReadModel):
    """One agreed limit; money is text."""

    name: str
    value: bool | int | str
    reason: str
    created_at: datetime
    expires_at: datetime | None


class AccountDetailRead(AccountRead):
    """One account with its limits and what was agreed, expired overrides too."""

    limits: LimitsRead
    overrides: list[OverrideRead]


class AuditEntryRead(ReadModel):
    """Who did what to whom; ``before`` and ``after`` are JSON of what changed."""

    id: UUID
    created_at: datetime
    actor: ActorKind
    actor_id: UUID | None
    action: Action
    user_id: UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    request_id: str | None


class AuditPageRead(ReadModel):
    """A page of the audit log, newest first."""

    items: list[AuditEntryRead]
    next_cursor: UUID | None
