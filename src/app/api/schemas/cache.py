"""What answers tell of caching."""

from typing import Literal

from pydantic import BaseModel

from app.api.schemas.common import ReadModel, Usd

MissReason = Literal[
    "below_minimum",
    "first_request",
    "prefix_changed",
    "ttl_expired",
    "provider_switched",
    "model_switched",
    "not_supported",
    "disabled",
    "unknown",
]
CacheOutcomeName = Literal["hit"] | MissReason


class CacheRead(BaseModel):
    """What became of the prompt at the provider's cache: ``hit``, or why nothing was found; null where nobody knows.

    ``detail`` names what the outcome is about; ``breakpoints`` is how many parts of the prompt were marked.
    """

    outcome: CacheOutcomeName | None
    detail: str | None
    breakpoints: int


class CacheStatsRead(ReadModel):
    """How well caching served a conversation's answers. Savings are net of what writing cost: they may be negative."""

    total_messages: int
    cached_messages: int
    total_cached_tokens: int
    total_cache_savings_usd: Usd
    cache_hit_rate: float
    hit_rate_by_tokens: float
    total_written_tokens: int
    misses: dict[MissReason, int]
