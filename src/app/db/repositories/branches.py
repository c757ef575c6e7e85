"""Paths through the tree of a conversation. Each is walked from its end to its beginning, by primary key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    not_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.db.models import Conversation, Message, MessageAttempt

USER = bindparam("user_id", type_=Uuid)
CONVERSATION = bindparam("conversation_id", type_=Uuid)
MESSAGE = bindparam("message_id", type_=Uuid)
CACHE_LOOK_BACK = 8
"""How many messages back from the end of a path caches are of interest."""
LENGTH, REACH, WHOLE = (bindparam(name, type_=Integer) for name in ("length", "reach", "whole"))
_SAID = (
    "id",
    "parent_id",
    "role",
    "status",
    "content",
    "preset_id",
    "preset_version",
    "depth",
    "tokens_before",
    "attachment_urls",
    "attachment_count",
)
_HISTORY = (*_SAID, "conversation_id", "summary_id")
_HEAD = (
    Conversation.id,
    Conversation.mode,
    Conversation.title,
    Conversation.preset_id,
    Conversation.preset_version,
    Conversation.preset_values,
)
"""What a branch tells of its conversation, in the order of the fields of :class:`Branch`."""


@dataclass(frozen=True, slots=True)
class PastMessage:
    """What history needs to know of a message."""

    id: UUID
    parent_id: UUID | None
    role: str
    status: str
    content: str
    preset_id: UUID | None
    preset_version: int | None
    depth: int
    tokens_before: int
    attachment_urls: Sequence[dict[str, Any]]
    """Files beside it that lie elsewhere."""
    attachment_count: int
    """How many files beside it are kept here."""
    summary: str | None
    left_in_cache: bytes | None = None
    """What the newest call of one of the last answers left in a provider's cache, as the call wrote it down."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a branch is read: at most ``messages``, and ``tokens`` before its end.

    Reading stops at a summary, unless the whole branch is no longer than ``whole`` tokens (and than ``messages``).
    """

    messages: int
    tokens: int
    whole: int


@dataclass(frozen=True, slots=True)
class Branch:
    """The end of a path through a conversation, oldest message first, and the conversation it belongs to."""

    conversation_id: UUID
    mode: str
    title: str | None
    preset_id: UUID | None
    """What it began with, in which version, and what its variables stand for."""
    preset_version: int | None
    preset_values: Mapping[str, Any] | None
    messages: Sequence[PastMessage]


class Branches:
    """Reads ``messages`` along their parents. What lies on other branches is not looked at."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get_active(self, user_id: UUID, conversation_id: UUID, *, reach: Reach) -> Branch | None:
        """The end of the active branch; ``None`` if there is no such conversation."""
        return await self._read(_ACTIVE, reach, user_id=user_id, conversation_id=conversation_id)

    async def get_ending_at(
        self, user_id: UUID, conversation_id: UUID, message_id: UUID, *, reach: Reach
    ) -> Branch | None:
        """The branch up to ``message_id``: empty if that is not of this conversation."""
        values = {"user_id": user_id, "conversation_id": conversation_id, "message_id": message_id}
        return await self._read(_ENDING_AT, reach, **values)

    async def get_through(self, user_id: UUID, message_id: UUID, *, reach: Reach) -> Branch | None:
        """The branch up to ``message_id``, whatever its conversation; ``None`` if it does not exist.

        A summary that ends with this very message does not count: it is not there for what stands in its place.
        """
        return await self._read(_THROUGH, reach, user_id=user_id, message_id=message_id)

    async def list_active(self, user_id: UUID, conversation_id: UUID) -> Sequence[Any]:
        """The whole active branch with its summaries, oldest first; a row has every column of ``messages``."""
        return await self._list(_WHOLE_ACTIVE, user_id, conversation_id)

    async def list_all(self, user_id: UUID, conversation_id: UUID) -> Sequence[Any]:
        """The messages of all branches, oldest first."""
        return await self._list(_EVERYTHING, user_id, conversation_id)

    async def list_active_ids(self, user_id: UUID, conversation_id: UUID) -> Sequence[UUID]:
        """The messages of the active branch, oldest first, without its summaries."""
        rows = await self._list(_WHOLE_ACTIVE_IDS, user_id, conversation_id)
        return [row.id for row in rows]

    async def list_after(
        self, user_id: UUID, conversation_id: UUID, *, after: UUID | None, limit: int
    ) -> Sequence[Any]:
        """At most ``limit`` messages of all branches behind ``after``, oldest first."""
        query = _EVERYTHING.limit(limit) if after is None else _EVERYTHING.where(Message.id > after).limit(limit)
        return await self._list(query, user_id, conversation_id)

    async def list_by_id(self, user_id: UUID, message_ids: Sequence[UUID]) -> Sequence[Any]:
        """These messages, in this order; those deleted meanwhile are left out."""
        query = select(*_columns).where(Message.user_id == user_id, Message.id.in_(message_ids))
        found = {row.id: row for row in (await self._connection.execute(query)).all()}
        return [found[each] for each in message_ids if each in found]

    async def list_siblings(self, user_id: UUID, conversation_id: UUID) -> Mapping[UUID | None, Sequence[UUID]]:
        """By parent, the messages that are not its only child, oldest first."""
        return _by_parent(await self._list(_SIBLINGS, user_id, conversation_id))

    async def list_children(self, user_id: UUID, conversation_id: UUID) -> Mapping[UUID | None, Sequence[UUID]]:
        """By parent, every message of the conversation, oldest first."""
        return _by_parent(await self._list(_CHILDREN, user_id, conversation_id))

    async def add_summary(self, row: Mapping[str, Any]) -> bool:
        """Let a summary stand for its parent and all before it; false if there is one, or no such message any more."""
        taken = await self._connection.execute(
            update(Message)
            .where(Message.user_id == row["user_id"], Message.id == row["parent_id"], Message.summary_id.is_(None))
            .values(summary_id=row["id"])
            .returning(Message.id)
        )
        if taken.first() is None:
            return False
        await self._connection.execute(insert(Message).values(**row))
        return True

    async def _list(self, query: Select[*tuple[Any, ...]], user_id: UUID, conversation_id: UUID) -> Sequence[Any]:
        values = {"user_id": user_id, "conversation_id": conversation_id}
        return (await self._connection.execute(query, values)).all()

    async def _read(self, query: Select[*tuple[Any, ...]], reach: Reach, **values: Any) -> Branch | None:
        bounds = {"length": reach.messages, "reach": reach.tokens, "whole": reach.whole}
        rows = (await self._connection.execute(query, values | bounds)).all()
        if not rows:
            return None
        conversation_id, mode, title, preset_id, preset_version, preset_values = rows[0][: len(_HEAD)]
        said = [row[len(_HEAD) :] for row in rows]
        messages = [PastMessage(*each) for each in said if each[0] is not None]
        return Branch(conversation_id, mode, title, preset_id, preset_version, preset_values, messages)


def _by_parent(rows: Sequence[Any]) -> dict[UUID | None, list[UUID]]:
    found: dict[UUID | None, list[UUID]] = {}
    for message_id, parent_id in rows:
        found.setdefault(parent_id, []).append(message_id)
    return found


def _whole_path(end: ColumnElement[bool]) -> CTE:
    """The path that ends with the message ``end`` picks out; ``steps`` counts from it."""
    links = (Message.id, Message.parent_id, Message.summary_id)
    path = select(*links, literal(0).label("steps")).where(Message.user_id == USER, end).cte("path", recursive=True)
    before = select(*links, path.c.steps + 1)
    return path.union_all(before.where(Message.user_id == USER, Message.id == path.c.parent_id))


def _end_of_path(end: ColumnElement[bool], *, own: int) -> CTE:
    """Like :func:`_whole_path`, with what history needs and no further than it reaches.

    The ``own`` newest messages belong to the turn that is to be: their summaries stop nobody.
    """
    last = select(
        *(getattr(Message, name) for name in _HISTORY),
        literal(0).label("steps"),
        (Message.tokens_before - REACH).label("reached"),
        case((and_(Message.tokens_before <= WHOLE, Message.depth < LENGTH), 1), else_=0).label("is_whole"),
    ).where(Message.user_id == USER, end)
    path = last.cte("path", recursive=True)
    older = aliased(Message)
    stops_here = and_(path.c.summary_id.is_not(None), path.c.is_whole == 0, path.c.steps >= own)
    before = select(
        *(getattr(older, name) for name in _HISTORY), path.c.steps + 1, path.c.reached, path.c.is_whole
    ).where(
        older.user_id == USER,
        older.id == path.c.parent_id,
        path.c.steps < LENGTH - 1,
        path.c.tokens_before > path.c.reached,
        not_(stops_here),
    )
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


def _branch(end: ColumnElement[bool], *, own: int = 0) -> Select[*tuple[Any, ...]]:
    """The conversation beside each message of the path; a row without a message where there is none.

    With messages of its ``own`` the conversation is that of the message, not one that is named.
    """
    path, summary = _end_of_path(end, own=own), aliased(Message)
    said = (path.c[name] for name in _SAID)
    query = select(*_HEAD, *said, summary.content, _left(path))
    query = query.select_from(Conversation).where(Conversation.user_id == USER)
    if own:
        query = query.join(path, Conversation.id == path.c.conversation_id)
    else:
        query = query.outerjoin(path, true()).where(Conversation.id == CONVERSATION)
    query = query.outerjoin(summary, and_(summary.user_id == USER, summary.id == path.c.summary_id))
    return query.order_by(path.c.steps.desc())


_IS_ACTIVE = (
    Message.id
    == select(Conversation.active_message_id)
    .where(Conversation.user_id == USER, Conversation.id == CONVERSATION)
    .scalar_subquery()
)
# Built once: what is sent differs by its values only.
_ACTIVE = _branch(_IS_ACTIVE)
_ENDING_AT = _branch(and_(Message.id == MESSAGE, Message.conversation_id == CONVERSATION))
_THROUGH = _branch(Message.id == MESSAGE, own=1)

_IS_SAID = Message.role != "summary"
_columns = Message.__table__.columns
_whole = _whole_path(_IS_ACTIVE)
# A summary is shown behind the last message it stands for.
_shown = union_all(
    select(_whole.c.id, (_whole.c.steps * 2 + 1).label("place")),
    select(_whole.c.summary_id, _whole.c.steps * 2).where(_whole.c.summary_id.is_not(None)),
).subquery()
_WHOLE_ACTIVE = (
    select(*_columns)
    .join(_shown, and_(Message.user_id == USER, Message.id == _shown.c.id))
    .order_by(_shown.c.place.desc())
)
_WHOLE_ACTIVE_IDS = select(_whole.c.id).order_by(_whole.c.steps.desc())
_EVERYTHING = (
    select(*_columns).where(Message.user_id == USER, Message.conversation_id == CONVERSATION).order_by(Message.id)
)
_CHILDREN = (
    select(Message.id, Message.parent_id)
    .where(Message.user_id == USER, Message.conversation_id == CONVERSATION, _IS_SAID)
    .order_by(Message.id)
)
_counted = (
    select(Message.id, Message.parent_id, func.count().over(partition_by=Message.parent_id).label("siblings"))
    .where(Message.user_id == USER, Message.conversation_id == CONVERSATION, _IS_SAID)
    .subquery()
)
_SIBLINGS = select(_counted.c.id, _counted.c.parent_id).where(_counted.c.siblings > 1).order_by(_counted.c.id)
