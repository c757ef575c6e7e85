"""May I, and why: one answer for a feature, a meter or the presets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.domain.features import Feature, has_feature
from app.domain.overrides import Override
from app.domain.plans import PLAN_LIMITS, PlanLimits, PlanTier
from app.domain.terms import Terms


class Entitlement(StrEnum):
    """What one can ask about: the switches of a plan, its meters, and the number of presets."""

    WEB_SEARCH = "web_search"
    IMAGE_GENERATION = "image_generation"
    PDF_PROCESSING = "pdf_processing"
    AUDIO_PROCESSING = "audio_processing"
    PROMPT_CACHING = "prompt_caching"
    ADVANCED_MODELS = "advanced_models"
    PRIORITY_SUPPORT = "priority_support"
    MESSAGES = "messages"
    TOKENS = "tokens"
    IMAGES = "images"
    COST = "cost"
    PRESETS = "presets"


class Why(StrEnum):
    """What decides."""

    PLAN = "plan"
    OVERRIDE = "override"
    SWITCHED_OFF = "switched_off"


LIMIT_NAMES = {
    Entitlement.MESSAGES: "messages_per_month",
    Entitlement.TOKENS: "tokens_per_month",
    Entitlement.IMAGES: "images_per_month",
    Entitlement.COST: "cost_ceiling_usd_per_month",
    Entitlement.PRESETS: "max_presets",
}
"""The counted entitlements, and the field of the plan that limits each."""


@dataclass(frozen=True, slots=True)
class Count:
    """How much of something is used; ``reserved`` is held by running turns, ``resets_at`` is ``None`` for presets."""

    used: Decimal
    reserved: Decimal
    resets_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer. ``available_in`` is the cheapest plan that would allow (more of) it; counts only where counted."""

    feature: Entitlement
    allowed: bool
    why: Why
    detail: str
    plan: PlanTier
    available_in: PlanTier | None
    expires_at: datetime | None
    limit: Decimal | None = None
    used: Decimal | None = None
    resets_at: datetime | None = None


def explain_feature(feature: Feature, terms: Terms, now: datetime, *, switched_on: bool) -> Explanation:
    """Whether a feature is open: the server's switch first, then what was agreed, then the plan."""
    override = _override(feature.value, terms, now)
    limits = terms.limits_at(now)
    allowed = has_feature(limits, feature)
    # What was agreed outlasts a change of plan: then no plan would help.
    larger = None if allowed or override else _cheapest(lambda plan: has_feature(plan, feature))
    why = Why.OVERRIDE if override else Why.PLAN
    name = feature.value.replace("_", " ").capitalize()
    return Explanation(
        feature=Entitlement(feature.value),
        allowed=allowed and switched_on,
        why=why if switched_on else Why.SWITCHED_OFF,
        detail=_sentence(name, limits.plan, override, larger, allowed=allowed, switched_on=switched_on),
        plan=limits.plan,
        available_in=larger if switched_on else None,
        expires_at=override.expires_at if override else None,
    )


def explain_count(counted: Entitlement, terms: Terms, count: Count, now: datetime) -> Explanation:
    """Whether there is something left of a limit."""
    name = LIMIT_NAMES[counted]
    override = _override(name, terms, now)
    limits = terms.limits_at(now)
    limit = Decimal(getattr(limits, name))
    allowed = count.used + count.reserved < limit
    until = f" until {count.resets_at:%Y-%m-%d %H:%M} UTC" if count.resets_at else ""
    return Explanation(
        feature=counted,
        allowed=allowed,
        why=Why.OVERRIDE if override else Why.PLAN,
        detail=f"{_amount(counted, count.used)} of {_amount(counted, limit)} used{until}.",
        plan=limits.plan,
        available_in=None if allowed or override else _cheapest(lambda plan: getattr(plan, name) > limit),
        expires_at=override.expires_at if override else None,
        limit=limit,
        used=count.used,
        resets_at=count.resets_at,
    )


def _sentence(
    name: str,
    plan: PlanTier,
    override: Override | None,
    larger: PlanTier | None,
    *,
    allowed: bool,
    switched_on: bool,
) -> str:
    if not switched_on:
        return f"{name} is switched off on this server."
    if override:
        until = f" until {override.expires_at:%Y-%m-%d %H:%M} UTC" if override.expires_at else ""
        return f"{name} is switched {'on' if allowed else 'off'} for you by agreement{until}."
    if allowed:
        return f"{name} is part of the {plan.value.title()} plan."
    where = f" It is part of the {larger.value.title()} plan." if larger else ""
    return f"{name} is not part of the {plan.value.title()} plan.{where}"


def _amount(counted: Entitlement, amount: Decimal) -> str:
    return f"${amount:.2f}" if counted is Entitlement.COST else f"{amount:,.0f} {counted.value}"


def _override(name: str, terms: Terms, now: datetime) -> Override | None:
    return next((each for each in terms.active_overrides(now) if each.name == name), None)


def _cheapest(allows: Callable[[PlanLimits], bool], plans: Iterable[PlanLimits] = PLAN_LIMITS) -> PlanTier | None:
    having = [plan for plan in plans if allows(plan)]
    return min(having, key=lambda plan: plan.price_usd_per_month).plan if having else None
