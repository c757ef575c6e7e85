"""How well caching served a conversation: rates and sums over its answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """Tokens read are parts of the prompts' tokens. The savings are net of what writing cost, so they may be negative.

    ``misses`` counts the answers that read nothing, by reason.
    """

    total_messages: int
    cached_messages: int
    prompt_tokens: int
    total_cached_tokens: int
    total_written_tokens: int
    total_cache_savings_usd: Decimal
    misses: Mapping[str, int]

    @property
    def cache_hit_rate(self) -> float:
        """The part of the answers that read anything from a cache; 0 before the first answer."""
        return self.cached_messages / self.total_messages if self.total_messages else 0.0

    @property
    def hit_rate_by_tokens(self) -> float:
        """The part of all prompt tokens that came from a cache, of the answers that told both."""
        return self.total_cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0
