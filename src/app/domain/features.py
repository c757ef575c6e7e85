"""What plans unlock: named features, and the models that count as advanced."""

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum

from app.domain.plans import PlanLimits, PlanTier


class Feature(StrEnum):
    """A switch of a plan; the value is its column's name."""

    WEB_SEARCH = "web_search"
    IMAGE_GENERATION = "image_generation"
    PDF_PROCESSING = "pdf_processing"
    AUDIO_PROCESSING = "audio_processing"
    PROMPT_CACHING = "prompt_caching"
    ADVANCED_MODELS = "advanced_models"
    PRIORITY_SUPPORT = "priority_support"


def has_feature(limits: PlanLimits, feature: Feature) -> bool:
    """Whether the plan has the feature switched on."""
    return bool(getattr(limits, feature.value))


def cheapest_plan_with(feature: Feature, plans: Iterable[PlanLimits]) -> PlanTier | None:
    """The cheapest of ``plans`` that has the feature; ``None`` if none has."""
    having = [each for each in plans if has_feature(each, feature)]
    return min(having, key=lambda each: each.price_usd_per_month).plan if having else None


def is_advanced(output_usd_per_million: Decimal | None, line: Decimal) -> bool:
    """Whether a model's output price stands above the line; an unknown price does."""
    return output_usd_per_million is None or output_usd_per_million > line
