"""What OpenRouter says of the key that calls it, and of the account behind."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.openrouter.reading import as_count, as_decimal, as_flag, as_map, as_text


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeRequests:
    """Calls to free models, of one UTC day."""

    limit: int | None = None
    used: int | None = None
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """The calling key. Money is USD; a limit of None is none."""

    label: str | None = None
    """The key's masked form or the name it was given."""
    limit: Decimal | None = None
    limit_remaining: Decimal | None = None
    limit_reset: str | None = None
    """`daily`, `weekly`, `monthly`; None: never."""
    usage: Decimal | None = None
    usage_daily: Decimal | None = None
    usage_monthly: Decimal | None = None
    is_free_tier: bool | None = None
    is_management_key: bool | None = None
    expires_at: str | None = None
    free_model_daily_requests: FreeRequests | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """The account's credits in USD, bought and used."""

    total_credits: Decimal | None = None
    total_usage: Decimal | None = None

    @property
    def remaining(self) -> Decimal | None:
        """Below zero when more was used than bought: then even free models answer 402."""
        if self.total_credits is None or self.total_usage is None:
            return None
        return self.total_credits - self.total_usage


def read_key(data: Any) -> KeyInfo:
    key = as_map(data)
    management = as_flag(key.get("is_management_key"))
    return KeyInfo(
        label=as_text(key.get("label")),
        limit=as_decimal(key.get("limit")),
        limit_remaining=as_decimal(key.get("limit_remaining")),
        limit_reset=as_text(key.get("limit_reset")),
        usage=as_decimal(key.get("usage")),
        usage_daily=as_decimal(key.get("usage_daily")),
        usage_monthly=as_decimal(key.get("usage_monthly")),
        is_free_tier=as_flag(key.get("is_free_tier")),
        is_management_key=as_flag(key.get("is_provisioning_key")) if management is None else management,
        expires_at=as_text(key.get("expires_at")),
        free_model_daily_requests=_read_free_requests(as_map(key.get("free_model_daily_requests"))),
    )


def read_credits(data: Any) -> Credits:
    account = as_map(data)
    return Credits(
        total_credits=as_decimal(account.get("total_credits")), total_usage=as_decimal(account.get("total_usage"))
    )


def _read_free_requests(row: Any) -> FreeRequests | None:
    if not row:
        return None
    return FreeRequests(**{name: as_count(row.get(name)) for name in ("limit", "used", "remaining")})
