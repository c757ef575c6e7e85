"""What caching did in a conversation, added up by the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Conversation, Message


@dataclass(frozen=True, slots=True)
class OutcomeSums:
    """The answers of one outcome: how many, how many of them read anything, and their tokens and savings.

    ``prompt_tokens`` are those of answers whose cached part is known.
    """

    outcome: str | None
    messages: int
    cached_messages: int
    prompt_tokens: int
    read_tokens: int
    written_tokens: int
    savings_usd: Decimal


class CacheStats:
    """Reads ``messages``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def sum_by_outcome(self, user_id: UUID, conversation_id: UUID) -> Sequence[OutcomeSums] | None:
        """One statement, whatever the length of the conversation; ``None`` when it is not the user's."""
        answered = and_(
            Message.user_id == Conversation.user_id,
            Message.conversation_id == Conversation.id,
            Message.role == "assistant",
            or_(
                Message.status == "completed",
                # Of a stopped answer that was charged it is known, or will be, what became of its cache.
                and_(Message.status == "stopped", Message.cache_outcome.is_not(None)),
            ),
        )
        known = case((Message.cached_tokens_read.is_not(None), Message.prompt_tokens))
        query = (
            select(
                Message.cache_outcome,
                func.count(Message.id),
                func.count(case((Message.cached_tokens_read > 0, 1))),
                func.coalesce(func.sum(known), 0),
                func.coalesce(func.sum(Message.cached_tokens_read), 0),
                func.coalesce(func.sum(Message.cached_tokens_write), 0),
                func.sum(Message.cache_discount_usd),
            )
            .select_from(Conversation)
            .outerjoin(Message, answered)
            .where(Conversation.user_id == user_id, Conversation.id == conversation_id)
            .group_by(Message.cache_outcome)
        )
        rows = (await self._session.execute(query)).all()
        return [_sums(*row) for row in rows] or None


def _sums(
    outcome: str | None, messages: int, cached: int, prompt: int, read: int, written: int, savings: Decimal | None
) -> OutcomeSums:
    # Sums of integers come back from PostgreSQL as whole decimals.
    return OutcomeSums(outcome, messages, cached, int(prompt), int(read), int(written), savings or Decimal(0))
