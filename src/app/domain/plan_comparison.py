"""Two plans side by side, for somebody who thinks of changing."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal

from app.domain.plans import PlanLimits

_NOT_SHOWN = {"plan", "price_usd_per_month", "cost_ceiling_usd_per_month"}  # the ceiling is the house's own business


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One field of the plan, before and after."""

    name: str
    now: int | bool | None
    then: int | bool | None


@dataclass(frozen=True, slots=True)
class OverLimit:
    """What is used today and would not fit into the other plan."""

    name: str
    used: int
    limit: int


def compare(now: PlanLimits, then: PlanLimits) -> tuple[LimitChange, ...]:
    """Every limit and feature of both, the same ones too."""
    names = [field.name for field in fields(PlanLimits) if field.name not in _NOT_SHOWN]
    return tuple(LimitChange(name, getattr(now, name), getattr(then, name)) for name in names)


def find_over_limit(used: Mapping[str, int | Decimal], limits: PlanLimits) -> tuple[OverLimit, ...]:
    """The limits that ``used`` (by name of the limit) is above."""
    return tuple(
        OverLimit(name, int(amount), getattr(limits, name))
        for name, amount in used.items()
        if amount > getattr(limits, name)
    )
