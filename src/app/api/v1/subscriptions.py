"""``/subscriptions``: plans, the account's own, and what it has used."""

from fastapi import APIRouter

from app.api.deps import CurrentUser, Subscriptions
from app.api.schemas.subscriptions import (
    CostMeterRead,
    MeterRead,
    PeriodRead,
    PlanRead,
    SubscriptionRead,
    UsageOfPeriodRead,
)

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
