"""``/subscriptions``: plans, the account's own, and what it has used."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from app.api.deps import CurrentUser, Customer, Subscriptions
from app.api.schemas.subscriptions import (
    CancelBody,
    ChangeBody,
    ChangePreviewRead,
    ChangeRead,
    ConfirmationRead,
    CostMeterRead,
    ExplanationRead,
    MeterRead,
    PeriodRead,
    PlanRead,
    SubscriptionRead,
    UsageOfPeriodRead,
)
from app.domain.entitlements import Entitlement

router = APIRouter(prefix="/subscriptions", tags=["subscriptions"])


@router.get("/plans")
async def list_plans(subscriptions: Subscriptions) -> list[PlanRead]:
    """The plans on sale, cheapest first; open to everyone."""
    return [PlanRead.model_validate(each) for each in await subscriptions.list_plans()]


@router.get("/me")
async def get_my_subscription(user: CurrentUser, subscriptions: Subscriptions) -> SubscriptionRead:
    """The plan one is on."""
    return SubscriptionRead.model_validate(await subscriptions.get(user.id))


@router.get("/usage")
async def get_my_usage(user: CurrentUser, subscriptions: Subscriptions) -> UsageOfPeriodRead:
    """What one used in the current billing month, and what is left."""
    usage = await subscriptions.usage(user.id)
    return UsageOfPeriodRead(
        messages=MeterRead.model_validate(usage.balance.messages),
        tokens=MeterRead.model_validate(usage.balance.tokens),
        images=MeterRead.model_validate(usage.balance.images),
        cost=CostMeterRead.model_validate(usage.balance.cost),
        total_cost_usd=usage.balance.cost.used,
        cache_savings_usd=usage.cache_savings_usd,
        period=PeriodRead.model_validate(usage.period),
        resets_at=usage.period.end,
    )


@router.post("/cancel")
async def cancel(
    user: CurrentUser, customer: Customer, subscriptions: Subscriptions, body: CancelBody | None = None
) -> SubscriptionRead:
    """Let the plan end with the period that is paid for."""
    state = await subscriptions.cancel(customer, user.id, reason=body.reason if body else None)
    return SubscriptionRead.model_validate(state)


@router.post("/resume")
async def resume(user: CurrentUser, customer: Customer, subscriptions: Subscriptions) -> SubscriptionRead:
    """Stay on the present plan: take back a cancellation, a scheduled change or a request."""
    return SubscriptionRead.model_validate(await subscriptions.resume(customer, user.id))


@router.post("/change-preview")
async def preview_change(body: ChangeBody, user: CurrentUser, subscriptions: Subscriptions) -> ChangePreviewRead:
    """What a change would bring, when, and at what price. Changes nothing."""
    return ChangePreviewRead.model_validate(await subscriptions.preview_change(user.id, body.plan))


@router.post("/change", responses={status.HTTP_202_ACCEPTED: {"model": ChangeRead}})
async def change(
    body: ChangeBody, user: CurrentUser, customer: Customer, subscriptions: Subscriptions, response: Response
) -> ChangeRead:
    """Move to another plan: 200 for a smaller one (at the period's end), 202 for a larger one (once confirmed)."""
    outcome = await subscriptions.change(customer, user.id, body.plan)
    if outcome.confirmation is not None:
        response.status_code = status.HTTP_202_ACCEPTED
    confirmation = ConfirmationRead.model_validate(outcome.confirmation) if outcome.confirmation else None
    return ChangeRead(**SubscriptionRead.model_validate(outcome.state).model_dump(), confirmation=confirmation)


@router.get("/explain")
async def explain(
    feature: Annotated[Entitlement, Query()], user: CurrentUser, subscriptions: Subscriptions
) -> ExplanationRead:
    """May I, and why."""
    return ExplanationRead.model_validate(await subscriptions.explain(user.id, feature))
