"""Limits of the account: free models by the minute and by the day, credits, and the cap of a key."""

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.clock import Clock
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.settings import EmulatorSettings

MINUTE, DAY = 60.0, 86_400.0


@dataclass(slots=True)
class FreeLimits:
    """Requests to `:free` models: a sliding minute, and the UTC day."""

    clock: Clock
    _minute: deque[float] = field(default_factory=deque)
    _day: int = 0
    used_today: int = 0

    def take(self, settings: EmulatorSettings) -> None:
        """Count one request, or refuse it with 429 and the three X-RateLimit headers."""
        now = self.clock.now()
        self._roll(now)
        if self.used_today >= settings.free_requests_per_day:
            raise _exceeded("free-models-per-day", settings.free_requests_per_day, (self._day + 1) * DAY)
        if len(self._minute) >= settings.free_requests_per_minute:
            raise _exceeded("free-models-per-min", settings.free_requests_per_minute, self._minute[0] + MINUTE)
        self._minute.append(now)
        self.used_today += 1

    def _roll(self, now: float) -> None:
        while self._minute and self._minute[0] <= now - MINUTE:
            self._minute.popleft()
        if int(now // DAY) != self._day:
            self._day, self.used_today = int(now // DAY), 0


def _exceeded(name: str, limit: int, reset_at: float) -> ApiError:
    """The limits come as headers, and again as strings in the metadata; `reset` in epoch milliseconds."""
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(reset_at * 1000)),
    }
    advice = " Add 10 credits to unlock 1000 free model requests per day" if name.endswith("day") else ""
    metadata = {"headers": headers, "provider_name": None}
    return ApiError(429, f"Rate limit exceeded: {name}.{advice}", metadata=metadata, headers=headers)


def require_credits(settings: EmulatorSettings, spent: Decimal, model: Model, *, prompt: int, output: int) -> None:
    """402 unless the dearest possible answer is affordable; 403 when the key's own cap is reached."""
    if settings.key_limit is not None and spent >= settings.key_limit:
        raise ApiError(
            403, "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", metadata={}
        )
    left = settings.total_credits - spent
    buy = "To increase, visit https://openrouter.ai/settings/credits and add more credits"
    nothing = {"provider_name": None}
    if left < 0 or (left == 0 and not model.prices.is_free):
        raise ApiError(402, f"Insufficient credits. {buy}", metadata=nothing)
    per_token = model.prices.price("completion", prompt) or Decimal(0)
    affordable = int((left - prompt * (model.prices.price("prompt", prompt) or 0)) / per_token) if per_token else output
    if per_token > 0 and affordable < output:
        raise ApiError(
            402,
            f"This request requires more credits, or fewer max_tokens. You requested up to {output} tokens, "
            f"but can only afford {max(affordable, 0)}. {buy}",
            metadata=nothing,
        )
