"""Calls whose bill is still to come, and the ledger's sums."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Message, MessageAttempt, UnbilledCall, UsageEvent


class Bills:
    """Reads and writes ``unbilled_calls``; writes late numbers into messages and attempts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_unbilled(self, row: Mapping[str, Any]) -> None:
        """Queue a call for looking up."""
        await self._session.execute(insert(UnbilledCall).values(**row))

    async def list_due(self, *, now: datetime, limit: int) -> Sequence[UnbilledCall]:
        """Calls to look up now, the longest waiting first."""
        query = (
            select(UnbilledCall).where(UnbilledCall.next_try_at <= now).order_by(UnbilledCall.next_try_at).limit(limit)
        )
        return (await self._session.scalars(query)).all()

    async def count_unbilled(self, user_id: UUID | None = None) -> int:
        """How many bills are still to come, given-up ones included; of one account or of all."""
        query = select(func.count()).select_from(UnbilledCall)
        if user_id is not None:
            query = query.where(UnbilledCall.user_id == user_id)
        return (await self._session.scalars(query)).one()

    async def take_unbilled(self, call: UnbilledCall) -> bool:
        """Remove a call from the queue; false if somebody else did before."""
        taken = await self._session.execute(
            delete(UnbilledCall)
            .where(UnbilledCall.user_id == call.user_id, UnbilledCall.attempt_id == call.attempt_id)
            .returning(UnbilledCall.attempt_id)
            .execution_options(synchronize_session=False)
        )
        return taken.first() is not None

    async def forget_orphan(self, user_id: UUID, message_id: UUID) -> None:
        """Take back what was written for a message that was thought dead and closes itself after all."""
        await self._session.execute(
            delete(MessageAttempt)
            .where(MessageAttempt.user_id == user_id, MessageAttempt.message_id == message_id)
            .execution_options(synchronize_session=False)
        )
        await self._session.execute(
            delete(UnbilledCall)
            .where(UnbilledCall.user_id == user_id, UnbilledCall.message_id == message_id)
            .execution_options(synchronize_session=False)
        )

    async def postpone(self, call: UnbilledCall, *, until: datetime | None) -> None:
        """Try again at ``until``; never again without one."""
        await self._session.execute(
            update(UnbilledCall)
            .where(UnbilledCall.user_id == call.user_id, UnbilledCall.attempt_id == call.attempt_id)
            .values(tries=UnbilledCall.tries + 1, next_try_at=until)
            .execution_options(synchronize_session=False)
        )

    async def complete_attempt(
        self, user_id: UUID, attempt_id: UUID, values: Mapping[str, Any], certain: Mapping[str, Any]
    ) -> None:
        """Put late numbers on the attempt where it has none, and what is ``certain`` in place of what it has."""
        await self._session.execute(
            update(MessageAttempt)
            .where(MessageAttempt.user_id == user_id, MessageAttempt.id == attempt_id)
            .values(**_where_missing(MessageAttempt, values), **certain)
            .execution_options(synchronize_session=False)
        )

    async def complete_message(
        self, user_id: UUID, message_id: UUID, values: Mapping[str, Any], certain: Mapping[str, Any]
    ) -> None:
        """Put late numbers on the message where it has none, as on an attempt; it is provisional no longer."""
        await self._session.execute(
            update(Message)
            .where(Message.user_id == user_id, Message.id == message_id)
            .values(is_provisional=False, **_where_missing(Message, values), **certain)
            .execution_options(synchronize_session=False)
        )

    async def get_cache_prefix(self, call: UnbilledCall) -> bytes | None:
        """What was kept of the prompt of a call, where anything was."""
        found: bytes | None = await self._session.scalar(
            select(MessageAttempt.cache_prefix).where(
                MessageAttempt.user_id == call.user_id, MessageAttempt.id == call.attempt_id
            )
        )
        return found

    async def find_house_line(self, user_id: UUID, generation_id: str) -> UsageEvent | None:
        """What the house has paid already for a generation that was thought lost."""
        found: UsageEvent | None = await self._session.scalar(
            select(UsageEvent).where(
                UsageEvent.user_id == user_id,
                UsageEvent.generation_id == generation_id,
                UsageEvent.kind == "lost_attempt",
            )
        )
        return found

    async def settle_unanswered(self, user_id: UUID, message_id: UUID) -> None:
        """A message without an answer is provisional until the last bill of its calls is there."""
        is_awaited = select(UnbilledCall.attempt_id).where(
            UnbilledCall.user_id == user_id, UnbilledCall.message_id == message_id
        )
        await self._session.execute(
            update(Message)
            .where(
                Message.user_id == user_id,
                Message.id == message_id,
                Message.status.in_(("failed", "interrupted", "stopped")),
                Message.total_cost_usd.is_(None),
                ~is_awaited.exists(),
            )
            .values(is_provisional=False)
            .execution_options(synchronize_session=False)
        )

    async def interrupt_pending(self, user_id: UUID, message_id: UUID, *, now: datetime, is_provisional: bool) -> bool:
        """Mark an answer whose process died; false if it had ended."""
        marked = await self._session.execute(
            update(Message)
            .where(Message.user_id == user_id, Message.id == message_id, Message.status == "pending")
            .values(status="interrupted", completed_at=now, is_provisional=is_provisional)
            .returning(Message.id)
            .execution_options(synchronize_session=False)
        )
        return marked.first() is not None


def _where_missing(table: type[Message] | type[MessageAttempt], values: Mapping[str, Any]) -> dict[str, Any]:
    columns = {name: getattr(table, name) for name in values}
    if "prompt_tokens" in columns:  # no prompt has none, and all that was read and written is part of it
        columns["prompt_tokens"] = func.nullif(table.prompt_tokens, 0, type_=table.prompt_tokens.type)
    return {name: func.coalesce(each, literal(values[name], each.type)) for name, each in columns.items()}
