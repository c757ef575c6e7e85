"""How well prompt caching serves a conversation: the use case behind ``GET /chat/cache-stats/{conversation_id}``."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from app.core.errors import NotFound
from app.db.database import Database, database
from app.db.repositories.cache_stats import OutcomeSums
from app.domain.cache_stats import CacheStatistics

UNKNOWN = "unknown"


class CacheStatsService:
    """Reads only; the sums are made by the database."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def of_conversation(self, user_id: UUID, conversation_id: UUID) -> CacheStatistics:
        """The statistics of a conversation of one's own; raises :class:`NotFound`."""
        async with self._database.read_only() as uow:
            sums = await uow.cache_stats.sum_by_outcome(user_id, conversation_id)
        if sums is None:
            raise NotFound(f"No conversation {str(conversation_id)!r}.")
        return _statistics(sums)


def _statistics(sums: Sequence[OutcomeSums]) -> CacheStatistics:
    misses: Counter[str] = Counter()
    for each in sums:
        # Answers from before reasons were kept, and those whose usage never came, have none.
        misses[each.outcome or UNKNOWN] += each.messages - each.cached_messages
    return CacheStatistics(
        total_messages=sum(each.messages for each in sums),
        cached_messages=sum(each.cached_messages for each in sums),
        prompt_tokens=sum(each.prompt_tokens for each in sums),
        total_cached_tokens=sum(each.read_tokens for each in sums),
        total_written_tokens=sum(each.written_tokens for each in sums),
        total_cache_savings_usd=sum((each.savings_usd for each in sums), Decimal(0)),
        misses={reason: count for reason, count in sorted(misses.items()) if count},
    )


cache_stats_service = CacheStatsService(database=database)
