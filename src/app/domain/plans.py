"""The plans people buy: what each allows in a month and what it costs."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class PlanTier(StrEnum):
    """The names of the plans, cheapest first."""

    FREE = "free"
    PREMIUM = "premium"
    UNLIMITED = "unlimited"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """One plan in one version. Counts are per billing period; tokens are prompt plus completion; money is USD."""

    plan: PlanTier
    price_usd_per_month: Decimal
    messages_per_month: int
    tokens_per_month: int
    images_per_month: int
    cost_ceiling_usd_per_month: Decimal
    max_presets: int
    max_context_tokens: int
    requests_per_minute: int | None  # None: agreed with each customer
    web_search: bool = True
    image_generation: bool = True
    pdf_processing: bool = True
    audio_processing: bool = True
    prompt_caching: bool = True
    advanced_models: bool = True
    priority_support: bool = True


# The cost ceilings are ours: no plan may cost the house more in a month than about its price (Free: a small present).
PLAN_LIMITS: tuple[PlanLimits, ...] = (
    PlanLimits(
        plan=PlanTier.FREE,
        price_usd_per_month=Decimal(0),
        messages_per_month=100,
        tokens_per_month=100_000,
        images_per_month=5,
        cost_ceiling_usd_per_month=Decimal("0.50"),
        max_presets=3,
        max_context_tokens=4_000,
        requests_per_minute=5,
        image_generation=False,
        pdf_processing=False,
        audio_processing=False,
        prompt_caching=False,
        advanced_models=False,
        priority_support=False,
    ),
    PlanLimits(
        plan=PlanTier.PREMIUM,
        price_usd_per_month=Decimal("19.99"),
        messages_per_month=2_000,
        tokens_per_month=5_000_000,
        images_per_month=100,
        cost_ceiling_usd_per_month=Decimal("16.00"),
        max_presets=20,
        max_context_tokens=200_000,
        requests_per_minute=50,
        priority_support=False,
    ),
    PlanLimits(
        plan=PlanTier.UNLIMITED,
        price_usd_per_month=Decimal("99.99"),
        messages_per_month=10_000,
        tokens_per_month=50_000_000,
        images_per_month=1_000,
        cost_ceiling_usd_per_month=Decimal("80.00"),
        max_presets=100,
        max_context_tokens=1_000_000,
        requests_per_minute=1_000,
    ),
    PlanLimits(
        plan=PlanTier.ENTERPRISE,
        price_usd_per_month=Decimal("499.99"),
        messages_per_month=100_000,
        tokens_per_month=500_000_000,
        images_per_month=10_000,
        cost_ceiling_usd_per_month=Decimal("400.00"),
        max_presets=500,
        max_context_tokens=1_000_000,
        requests_per_minute=None,
    ),
)
