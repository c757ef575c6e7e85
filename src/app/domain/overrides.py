"""What was agreed with one customer in place of the plan's own limits and features."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from app.domain.features import Feature
from app.domain.plans import PlanLimits

LimitValue = bool | int | Decimal

_MONEY = "cost_ceiling_usd_per_month"
_MOST_USD = Decimal(1_000_000)
_COUNTS: dict[str, range] = {
    "messages_per_month": range(2**31),
    "tokens_per_month": range(10**15),
    "images_per_month": range(2**31),
    "max_presets": range(2**31),
    "max_context_tokens": range(2**31),
    "requests_per_minute": range(1, 1_000_001),
}
_FEATURES = frozenset(feature.value for feature in Feature)
_SPOKEN = {"true": True, "false": False}

OVERRIDABLE: tuple[str, ...] = (*_COUNTS, _MONEY, *(feature.value for feature in Feature))
"""The fields of a plan that can be agreed upon with one customer; the price is not one of them."""


@dataclass(frozen=True, slots=True)
class Override:
    """One field of the plan for one customer, until ``expires_at`` (not included; ``None``: for good)."""

    name: str
    value: LimitValue
    expires_at: datetime | None

    def is_active(self, now: datetime) -> bool:
        """Whether it still holds."""
        return self.expires_at is None or now < self.expires_at


def read_value(name: str, raw: object) -> LimitValue:
    """A field's value from JSON or from the command line; ``ValueError`` says what it may be."""
    if name in _FEATURES:
        return _read_switch(raw)
    if name in _COUNTS:
        return _read_count(raw, _COUNTS[name])
    if name == _MONEY:
        return _read_money(raw)
    raise ValueError(f"no limit of that name; there are {', '.join(OVERRIDABLE)}")


def write_value(value: LimitValue) -> bool | int | str:
    """The value as JSON keeps it: money as text, so that no digit is lost."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def apply_overrides(limits: PlanLimits, overrides: Iterable[Override], now: datetime) -> PlanLimits:
    """The limits with everything in place that was agreed upon and has not expired."""
    changes: dict[str, Any] = {each.name: each.value for each in overrides if each.is_active(now)}
    return replace(limits, **changes) if changes else limits


def _read_switch(raw: object) -> bool:
    value = _SPOKEN.get(raw) if isinstance(raw, str) else raw
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _read_count(raw: object, allowed: range) -> int:
    value = int(raw) if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 20 else raw
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise ValueError(f"must be a whole number from {allowed.start} to {allowed.stop - 1}")
    return value


def _read_money(raw: object) -> Decimal:
    try:
        value = Decimal(raw) if isinstance(raw, str | int | Decimal) and not isinstance(raw, bool) else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or not 0 <= value <= _MOST_USD:
        raise ValueError(f"must be an amount in USD from 0 to {_MOST_USD}")
    return value
