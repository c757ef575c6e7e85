"""The files that go with a question: those it names, or those that the question it repeats has already."""

from collections.abc import Sequence
from uuid import UUID

from app.core.errors import NotFound
from app.db.models import Attachment
from app.db.unit_of_work import UnitOfWork
from app.services.chat_turn import Question
from app.services.turn_place import Spot


async def find_attachments(uow: UnitOfWork, user_id: UUID, spot: Spot, question: Question) -> Sequence[Attachment]:
    """The files in the order they are sent, in one statement where there are any; raises ``NotFound`` for one that
    is not the account's.

    A stored question keeps what stands beside it, deleted files too; in other words it keeps those still there.
    """
    if spot.asked is not None:
        return await _beside(uow, user_id, spot.asked.id) if spot.asked.attachment_count else ()
    if question.attachment_ids is None:
        if spot.beside is None or not spot.beside.attachment_count:
            return ()
        return [each for each in await _beside(uow, user_id, spot.beside.id) if each.deleted_at is None]
    if not question.attachment_ids:
        return ()
    found = await uow.attachments.list_by_id(user_id, question.attachment_ids)
    for attachment_id in question.attachment_ids:
        if attachment_id not in found:
            raise no_attachment(attachment_id)
    return [found[each] for each in question.attachment_ids]


def no_attachment(attachment_id: UUID) -> NotFound:
    """What is told of a file that is not there, or not the caller's own."""
    return NotFound(f"attachment_ids: no attachment {str(attachment_id)!r}.", field="attachment_ids")


async def _beside(uow: UnitOfWork, user_id: UUID, message_id: UUID) -> Sequence[Attachment]:
    return [each.attachment for each in await uow.attachments.list_of_messages(user_id, [message_id])]
