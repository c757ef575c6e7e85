"""Where in the tree of a conversation a turn stands: behind an answer, beside one, or in place of a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.core.errors import Conflict, InvalidField, NotFound
from app.db.repositories.branches import Branch, PastMessage, Reach
from app.db.unit_of_work import UnitOfWork

OWN_PAIR = 2
"""How many messages at the end of a branch may belong to the turn itself rather than to what was said before it."""


class AnswerStillRunning(Conflict):
    """The answer that was named is still being written."""

    code = "answer_still_running"


@dataclass(frozen=True, slots=True)
class Continuation:
    """Behind the answer ``parent_id``; without one at the end of the active branch."""

    conversation_id: UUID
    parent_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Regeneration:
    """Beside an answer: its question is answered once more. The question itself may be named as well."""

    message_id: UUID


@dataclass(frozen=True, slots=True)
class Edit:
    """Beside a question: the same point of the conversation, in other words."""

    message_id: UUID


Place = Continuation | Regeneration | Edit


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place that was found: what the question follows, and what was said before it, oldest first."""

    conversation_id: UUID
    mode: str
    title: str | None
    preset_id: UUID | None
    """What the conversation began with, in which version, and what its variables stand for."""
    preset_version: int | None
    preset_values: Mapping[str, Any] | None
    parent_id: UUID | None
    asked: PastMessage | None = None
    """The stored question that is answered once more."""
    beside: PastMessage | None = None
    """The message that stands there already."""
    past: Sequence[PastMessage]


async def find_spot(uow: UnitOfWork, user_id: UUID, place: Place, *, reach: Reach) -> Spot:
    """Read the place and what was said before it, as far as ``reach``, in one statement; raises :class:`NotFound`."""
    reach = replace(reach, messages=reach.messages + OWN_PAIR)
    if isinstance(place, Continuation):
        return await _behind(uow, user_id, place, reach)
    branch = await uow.branches.get_through(user_id, place.message_id, reach=reach)
    if branch is None:
        raise NotFound(f"No message {str(place.message_id)!r}.")
    return _beside_answer(branch) if isinstance(place, Regeneration) else _beside_question(branch)


async def _behind(uow: UnitOfWork, user_id: UUID, place: Continuation, reach: Reach) -> Spot:
    conversation_id, parent_id = place.conversation_id, place.parent_id
    if parent_id is None:
        branch = await uow.branches.get_active(user_id, conversation_id, reach=reach)
    else:
        branch = await uow.branches.get_ending_at(user_id, conversation_id, parent_id, reach=reach)
    if branch is None:
        raise NotFound(f"No conversation {str(conversation_id)!r}.")
    past = list(branch.messages)
    if parent_id is None:
        past = _ended(past)
    elif not past:
        raise NotFound(f"No message {str(parent_id)!r} in this conversation.")
    elif past[-1].role != "assistant":
        raise InvalidField("parent_id", "is a question; name an answer to go on from.")
    elif past[-1].status == "pending":
        raise AnswerStillRunning("This answer is still being written. Wait for its end, or stop it.")
    return Spot(
        **_head_of(branch),
        parent_id=past[-1].id if past else None,
        past=past,
    )


def _head_of(branch: Branch) -> dict[str, Any]:
    return {
        "conversation_id": branch.conversation_id,
        "mode": branch.mode,
        "title": branch.title,
        "preset_id": branch.preset_id,
        "preset_version": branch.preset_version,
        "preset_values": branch.preset_values,
    }


def _ended(path: list[PastMessage]) -> list[PastMessage]:
    """The path without a turn that still runs: a question asked meanwhile stands beside it, not behind it."""
    if path and path[-1].status == "pending":
        return path[:-2]
    return path


def _beside_answer(branch: Branch) -> Spot:
    *past, last = branch.messages
    if last.status == "pending":
        raise AnswerStillRunning("This answer is still being written. Wait for its end, or stop it.")
    asked = last if last.role == "user" else past.pop()
    return Spot(
        **_head_of(branch),
        parent_id=asked.parent_id,
        asked=asked,
        beside=last,
        past=past,
    )


def _beside_question(branch: Branch) -> Spot:
    *past, last = branch.messages
    if last.role != "user":
        raise InvalidField("message_id", "is an answer; only questions can be edited.")
    return Spot(
        **_head_of(branch),
        parent_id=last.parent_id,
        beside=last,
        past=past,
    )
