"""Conversations: create, list, read, rename, delete."""

import base64
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.core.clock import Clock, utc_now
from app.core.errors import InvalidField
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import Attachment, Conversation
from app.db.repositories.attachments import TiedAttachment
from app.db.repositories.conversations import ConversationPosition
from app.db.unit_of_work import UnitOfWork
from app.domain.modes import DEFAULT_MODE, MODES
from app.domain.presets import PresetId
from app.domain.search import search_patterns
from app.services.preset_choice import address_of, check_values, require_preset

EXPORT_BATCH = 200
"""Messages read at a time."""
NEAREST_SIBLINGS = 20
"""So many siblings of a message are named: all of a thousand, beside each of the thousand, would be a million."""


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Some conversations, and where the next ones begin (``None``: there are no more)."""

    items: Sequence[Conversation]
    next_cursor: str | None


AttachmentsByMessage = Mapping[UUID, Sequence[Attachment]]
"""The files beside messages, deleted ones too, in the order they were sent."""


@dataclass(frozen=True, slots=True)
class ConversationWithMessages:
    """A conversation and what was said in it, oldest first."""

    conversation: Conversation
    messages: Sequence[Any]
    siblings: Mapping[UUID | None, Sequence[UUID]]
    """By parent, where it has more than one child."""
    attachments: AttachmentsByMessage
    preset_newest_version: int | None
    """Of the preset it keeps to an earlier version of; ``None`` where it has none, or that is gone."""

    def place_of(self, message: Any) -> "Place":
        """Where a message stands among those with the same parent, oldest first."""
        siblings = () if message.role == "summary" else self.siblings.get(message.parent_id, ())
        if not siblings:
            return Place(1, 1, (message.id,))
        index = bisect_left(siblings, message.id)  # ids are in the order of time
        start = max(0, min(index - NEAREST_SIBLINGS // 2, len(siblings) - NEAREST_SIBLINGS))
        return Place(index + 1, len(siblings), siblings[start : start + NEAREST_SIBLINGS])


@dataclass(frozen=True, slots=True)
class Place:
    """The number of a message among its siblings (from 1), how many they are, and the nearest of them with itself."""

    number: int
    count: int
    nearest: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class ExportBatch:
    """Some messages, oldest first, and the files beside them."""

    messages: Sequence[Any]
    attachments: AttachmentsByMessage


@dataclass(frozen=True, slots=True)
class ConversationExport:
    """A conversation as it is taken away; ``batches``, oldest messages first, are read as they are asked for."""

    conversation: Conversation
    exported_at: datetime
    batches: AsyncIterator[ExportBatch]


class ConversationService:
    """Use cases of ``/conversations``. What is not the caller's own is not found."""

    def __init__(self, *, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        user_id: UUID,
        *,
        title: str | None = None,
        mode: str = DEFAULT_MODE,
        preset: str | None = None,
        preset_values: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Begin an empty conversation, with a ``preset`` as it is now and what its variables stand for."""
        now = self._clock()
        conversation = Conversation(
            user_id=user_id, id=new_id(), title=title, mode=_known_mode(mode), created_at=now, updated_at=now
        )
        async with self._database.unit_of_work() as uow:
            if preset is not None or preset_values is not None:
                await _take_preset(uow, conversation, {"preset": preset, "preset_values": preset_values or {}})
            uow.conversations.add(conversation)
            await uow.commit()
        return conversation

    async def list_page(
        self, user_id: UUID, *, limit: int, cursor: str | None = None, query: str = ""
    ) -> ConversationPage:
        """One page, the conversation talked in last first; with a ``query`` those that say its words."""
        after = _read_cursor(cursor) if cursor else None
        patterns = search_patterns(query)
        if query.strip() and not patterns:
            return ConversationPage((), None)  # nothing but signs: nothing says them
        # Looking for words may take its time.
        work = self._database.snapshot() if patterns else self._database.read_only()
        async with work as uow:
            found = await uow.conversations.list_page(user_id, limit=limit + 1, after=after, patterns=patterns)
        items = found[:limit]
        return ConversationPage(items, _write_cursor(items[-1]) if len(found) > limit else None)

    async def get(
        self, user_id: UUID, conversation_id: UUID, *, all_branches: bool = False
    ) -> ConversationWithMessages:
        """One conversation with the messages of its active branch, or with all."""
        async with self._database.snapshot() as uow:
            conversation = await uow.conversations.require(user_id, conversation_id)
            list_messages = uow.branches.list_all if all_branches else uow.branches.list_active
            messages = await list_messages(user_id, conversation_id)
            siblings = await uow.branches.list_siblings(user_id, conversation_id)
            attachments: AttachmentsByMessage = {}
            if any(each.attachment_count for each in messages):
                attachments = _by_message(await uow.attachments.list_of_conversation(user_id, conversation_id))
            newest = await _newest_version(uow, conversation)
        return ConversationWithMessages(conversation, messages, siblings, attachments, newest)

    async def export(self, user_id: UUID, conversation_id: UUID, *, all_branches: bool) -> ConversationExport:
        """A conversation to take away: its messages come in batches, and no connection is held between them."""
        async with self._database.read_only() as uow:
            conversation = await uow.conversations.require(user_id, conversation_id)
        read = self._all_in_batches if all_branches else self._active_in_batches
        return ConversationExport(conversation, self._clock(), read(user_id, conversation_id))

    async def _all_in_batches(self, user_id: UUID, conversation_id: UUID) -> AsyncIterator[ExportBatch]:
        after: UUID | None = None
        while True:
            async with self._database.snapshot() as uow:
                batch = await uow.branches.list_after(user_id, conversation_id, after=after, limit=EXPORT_BATCH)
                attachments = await _attachments_of(uow, user_id, batch)
            if not batch:
                return
            yield ExportBatch(batch, attachments)
            after = batch[-1].id

    async def _active_in_batches(self, user_id: UUID, conversation_id: UUID) -> AsyncIterator[ExportBatch]:
        async with self._database.snapshot() as uow:
            ids = await uow.branches.list_active_ids(user_id, conversation_id)
        for start in range(0, len(ids), EXPORT_BATCH):
            async with self._database.snapshot() as uow:
                batch = await uow.branches.list_by_id(user_id, ids[start : start + EXPORT_BATCH])
                attachments = await _attachments_of(uow, user_id, batch)
            yield ExportBatch(batch, attachments)

    async def update(
        self,
        user_id: UUID,
        conversation_id: UUID,
        *,
        title: str | None = None,
        mode: str | None = None,
        active_message_id: UUID | None = None,
        **preset: Any,
    ) -> Conversation:
        """Change what is given. A new mode or ``preset`` holds from the next message on; ``preset=None`` takes it away.

        The branch through ``active_message_id`` becomes the active one, to its end; where it parts again, the newest.
        """
        async with self._database.unit_of_work() as uow:
            conversation = await uow.conversations.require(user_id, conversation_id, for_update=True)
            if active_message_id is not None:
                children = await uow.branches.list_children(user_id, conversation_id)
                conversation.active_message_id = _newest_end(active_message_id, children)
            if title is not None:
                conversation.title = title
            if mode is not None:
                conversation.mode = _known_mode(mode)
            if preset:
                await _take_preset(uow, conversation, preset)
            await uow.commit()
        return conversation

    async def delete(self, user_id: UUID, conversation_id: UUID) -> None:
        """Delete a conversation and everything under it, the answers kept for repeated requests included.

        Files that stood beside its messages, and beside no others, go with it, and what was read of them.
        """
        async with self._database.unit_of_work() as uow:
            await uow.conversations.require(user_id, conversation_id, for_update=True)  # nobody asks in it meanwhile
            keys = await uow.idempotency.list_of_conversation(user_id, conversation_id)
            files = await uow.attachments.list_of_conversation(user_id, conversation_id)
            read = await uow.parsed_files.list_hashes_of_conversation(user_id, conversation_id)
            await uow.conversations.delete(user_id, conversation_id)
            named = await uow.attachments.delete_untied({(user_id, each.attachment.id) for each in files})
            await uow.blobs.release(named, now=self._clock())
            if gone := read | {each.attachment.sha256 for each in files if each.attachment.kind == "pdf"}:
                await uow.parsed_files.forget(user_id, gone)
            if keys:  # behind the messages, as answers that end take them
                await uow.idempotency.forget(user_id, keys)
            await uow.commit()

    async def aclose(self) -> None:
        """Close the database connections; a later call opens them anew."""
        await self._database.close()


async def _attachments_of(uow: UnitOfWork, user_id: UUID, messages: Sequence[Any]) -> AttachmentsByMessage:
    ids = [each.id for each in messages if each.attachment_count]
    return _by_message(await uow.attachments.list_of_messages(user_id, ids)) if ids else {}


async def _take_preset(uow: UnitOfWork, conversation: Conversation, changes: Mapping[str, Any]) -> None:
    """Keep to the version that a preset's address means now; without ``preset`` only what its variables stand for."""
    if "preset" in changes and changes["preset"] is None:
        if changes.get("preset_values"):
            raise InvalidField("preset_values", "are values without a preset.")
        conversation.preset_id = conversation.preset_version = conversation.preset_values = None
        return
    user_id = conversation.user_id
    if "preset" in changes:
        name = address_of(changes["preset"])
    elif conversation.preset_id is not None:
        name = PresetId(conversation.preset_id, conversation.preset_version)
    else:
        raise InvalidField("preset_values", "are values without a preset.")
    used = await require_preset(uow, user_id, name, began_with="preset" not in changes)
    given = changes.get("preset_values")
    if given is None and used.id == conversation.preset_id:  # another version of the same: what fits it stays
        kept, known = conversation.preset_values or {}, used.content.variables or {}
        given = {name: value for name, value in kept.items() if name in known}
    conversation.preset_id, conversation.preset_version = used.id, used.version
    conversation.preset_values = check_values(used.content, given or {})


async def _newest_version(uow: UnitOfWork, conversation: Conversation) -> int | None:
    if conversation.preset_id is None:
        return None
    name = PresetId(conversation.preset_id, conversation.preset_version)
    used = await uow.presets.find_for_use(conversation.user_id, name, began_with=True)
    return used.newest if used else None


def _by_message(tied: Sequence[TiedAttachment]) -> AttachmentsByMessage:
    found: dict[UUID, list[Attachment]] = {}
    for each in tied:
        found.setdefault(each.message_id, []).append(each.attachment)
    return found


def _newest_end(message_id: UUID, children: Mapping[UUID | None, Sequence[UUID]]) -> UUID:
    if not any(message_id in siblings for siblings in children.values()):
        raise InvalidField("active_message_id", f"{str(message_id)!r} is not a message of this conversation.")
    while message_id in children:
        message_id = children[message_id][-1]
    return message_id


def _known_mode(mode: str) -> str:
    if mode not in MODES:
        raise InvalidField("mode", f"{mode!r} is not a mode; choose one of {', '.join(MODES)}.", allowed=list(MODES))
    return mode


def _write_cursor(conversation: Conversation) -> str:
    text = f"{conversation.updated_at.isoformat()}|{conversation.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> ConversationPosition:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        instant, _, conversation_id = text.partition("|")
        updated_at = datetime.fromisoformat(instant)
        if updated_at.tzinfo is None:
            raise ValueError("naive")
        return ConversationPosition(updated_at.astimezone(UTC), UUID(conversation_id))
    except (ValueError, OverflowError):
        raise InvalidField("cursor", "use the next_cursor of the page before.") from None


conversation_service = ConversationService(database=database)
