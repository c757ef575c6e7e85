"""Paths through the tree of a conversation. Each is walked from its end to its beginning, by primary key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Integer, Select, Uuid, and_, bindparam, case, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.db.models import Conversation, Message, MessageAttempt

USER = bindparam("user_id", type_=Uuid)
CONVERSATION = bindparam("conversation_id", type_=Uuid)
MESSAGE = bindparam("message_id", type_=Uuid)
CACHE_LOOK_BACK = 8
"""How many messages back from the end of a path caches are of interest."""
LENGTH = bindparam("length", type_=Integer)


@dataclass(frozen=True, slots=True)
class PastMessage:
    """What history needs to know of a message."""

    id: UUID
    parent_id: UUID | None
    role: str
    status: str
    content: str
    preset_id: UUID | None
    left_in_cache: bytes | None = None
    """What the newest call of one of the last answers left in a provider's cache, as the call wrote it down."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The end of a path through a conversation, oldest message first, and the conversation it belongs to."""

    conversation_id: UUID
    mode: str
    messages: Sequence[PastMessage]


class Branches:
    """Reads ``messages`` along their parents. What lies on other branches is not looked at."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get_active(self, user_id: UUID, conversation_id: UUID, *, length: int) -> Branch | None:
        """The last ``length`` messages of the active branch; ``None`` if there is no such conversation."""
        return await self._read(_ACTIVE, user_id=user_id, conversation_id=conversation_id, length=length)

    async def get_ending_at(
        self, user_id: UUID, conversation_id: UUID, message_id: UUID, *, length: int
    ) -> Branch | None:
        """The ``length`` messages up to ``message_id``: none of them if it is not of this conversation."""
        values = {"user_id": user_id, "conversation_id": conversation_id, "message_id": message_id, "length": length}
        return await self._read(_ENDING_AT, **values)

    async def get_through(self, user_id: UUID, message_id: UUID, *, length: int) -> Branch | None:
        """The ``length`` messages up to ``message_id``, whatever its conversation; ``None`` if it does not exist."""
        return await self._read(_THROUGH, user_id=user_id, message_id=message_id, length=length)

    async def list_active(self, user_id: UUID, conversation_id: UUID) -> Sequence[Any]:
        """The whole active branch, oldest first; a row has every column of ``messages``."""
        return await self._list(_WHOLE_ACTIVE, user_id, conversation_id)

    async def list_all(self, user_id: UUID, conversation_id: UUID) -> Sequence[Any]:
        """The messages of all branches, oldest first."""
        return await self._list(_EVERYTHING, user_id, conversation_id)

    async def list_siblings(self, user_id: UUID, conversation_id: UUID) -> Mapping[UUID | None, Sequence[UUID]]:
        """By parent, the messages that are not its only child, oldest first."""
        return _by_parent(await self._list(_SIBLINGS, user_id, conversation_id))

    async def list_children(self, user_id: UUID, conversation_id: UUID) -> Mapping[UUID | None, Sequence[UUID]]:
        """By parent, every message of the conversation, oldest first."""
        return _by_parent(await self._list(_CHILDREN, user_id, conversation_id))

    async def _list(self, query: Select[*tuple[Any, ...]], user_id: UUID, conversation_id: UUID) -> Sequence[Any]:
        values = {"user_id": user_id, "conversation_id": conversation_id}
        return (await self._connection.execute(query, values)).all()

    async def _read(self, query: Select[*tuple[Any, ...]], **values: Any) -> Branch | None:
        rows = (await self._connection.execute(query, values)).all()
        if not rows:
            return None
        conversation_id, mode = rows[0][:2]
        return Branch(conversation_id, mode, [PastMessage(*row[2:]) for row in rows if row[2] is not None])


def _by_parent(rows: Sequence[Any]) -> dict[UUID | None, list[UUID]]:
    found: dict[UUID | None, list[UUID]] = {}
    for message_id, parent_id in rows:
        found.setdefault(parent_id, []).append(message_id)
    return found


def _path(end: ColumnElement[bool], *columns: str, length: ColumnElement[int] | None = None) -> CTE:
    """The path that ends with the message ``end`` picks out: ``steps`` counts from it; at most ``length`` messages."""
    read = ("id", "parent_id", *columns)
    last = select(*(getattr(Message, name) for name in read), literal(0).label("steps")).where(
        Message.user_id == USER, end
    )
    path = last.cte("path", recursive=True)
    older = aliased(Message)
    before = select(*(getattr(older, name) for name in read), path.c.steps + 1).where(
        older.user_id == USER, older.id == path.c.parent_id
    )
    if length is not None:
        before = before.where(path.c.steps < length - 1)
    return path.union_all(before)


def _left(path: CTE) -> ColumnElement[bytes | None]:
    """What the answers among the last few messages left in a cache. No more are looked up, however long the path is."""
    newest = (
        select(MessageAttempt.cache_prefix)
        .where(
            MessageAttempt.user_id == USER,
            MessageAttempt.message_id == path.c.id,
            MessageAttempt.cache_prefix.is_not(None),
        )
        .order_by(MessageAttempt.ordinal.desc())
        .limit(1)
        .scalar_subquery()
    )
    return case((and_(path.c.role == "assistant", path.c.steps < CACHE_LOOK_BACK), newest))


def _branch(end: ColumnElement[bool], *, of_its_own: bool = False) -> Select[*tuple[Any, ...]]:
    """The conversation beside each message of the path; a row without a message where there is none.

    ``of_its_own``: the conversation is that of the message, not one that is named.
    """
    path = _path(end, "conversation_id", "role", "status", "content", "preset_id", length=LENGTH)
    head = (Conversation.id, Conversation.mode)
    said = (path.c.id, path.c.parent_id, path.c.role, path.c.status, path.c.content, path.c.preset_id, _left(path))
    query = select(*head, *said).select_from(Conversation).order_by(path.c.steps.desc())
    if of_its_own:
        owns = and_(Conversation.user_id == USER, Conversation.id == path.c.conversation_id)
        return query.join(path, owns)
    return query.outerjoin(path, true()).where(Conversation.user_id == USER, Conversation.id == CONVERSATION)


_IS_ACTIVE = (
    Message.id
    == select(Conversation.active_message_id)
    .where(Conversation.user_id == USER, Conversation.id == CONVERSATION)
    .scalar_subquery()
)
# Built once: what is sent differs by its values only.
_ACTIVE = _branch(_IS_ACTIVE)
_ENDING_AT = _branch(and_(Message.id == MESSAGE, Message.conversation_id == CONVERSATION))
_THROUGH = _branch(Message.id == MESSAGE, of_its_own=True)

_whole = _path(_IS_ACTIVE)
_columns = Message.__table__.columns
_WHOLE_ACTIVE = (
    select(*_columns)
    .join(_whole, and_(Message.user_id == USER, Message.id == _whole.c.id))
    .order_by(_whole.c.steps.desc())
)
_EVERYTHING = (
    select(*_columns).where(Message.user_id == USER, Message.conversation_id == CONVERSATION).order_by(Message.id)
)
_CHILDREN = (
    select(Message.id, Message.parent_id)
    .where(Message.user_id == USER, Message.conversation_id == CONVERSATION)
    .order_by(Message.id)
)
_counted = (
    select(Message.id, Message.parent_id, func.count().over(partition_by=Message.parent_id).label("siblings"))
    .where(Message.user_id == USER, Message.conversation_id == CONVERSATION)
    .subquery()
)
_SIBLINGS = select(_counted.c.id, _counted.c.parent_id).where(_counted.c.siblings > 1).order_by(_counted.c.id)
