"""Conversations: create, list, read, rename, delete, and give a title."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import InvalidField
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import Conversation, Message
from app.db.repositories.conversations import ConversationPosition
from app.domain.modes import DEFAULT_MODE, MODES
from app.domain.periods import period_containing
from app.domain.prompting import clean_title, title_from
from app.services.model_call import ChatResult, ModelCallFailed
from app.services.openrouter_service import NotConfigured, OpenRouterService, openrouter_service
from app.services.quota_service import BilledCall, QuotaService, quota_service

log = structlog.get_logger(__name__)

TITLE_MAX_TOKENS = 32
TITLE_SOURCE_MESSAGES = 4
TITLE_SOURCE_CHARS = 2_000
TITLE_INSTRUCTION = (
    "Give this conversation a title of at most six words, in the language of its first message. "
    "Answer with the title alone: no quotation marks, no full stop."
)


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Some conversations, and where the next ones begin (``None``: there are no more)."""

    items: Sequence[Conversation]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ConversationWithMessages:
    """A conversation and what was said in it, oldest first."""

    conversation: Conversation
    messages: Sequence[Any]
    siblings: Mapping[UUID | None, Sequence[UUID]]
    """By parent, where it has more than one child."""

    def siblings_of(self, message: Any) -> Sequence[UUID]:
        """The messages with the same parent, itself among them, oldest first."""
        return self.siblings.get(message.parent_id) or (message.id,)


class ConversationService:
    """Use cases of ``/conversations``. What is not the caller's own is not found."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._clock = clock

    async def create(self, user_id: UUID, *, title: str | None = None, mode: str = DEFAULT_MODE) -> Conversation:
        """Begin an empty conversation."""
        now = self._clock()
        conversation = Conversation(
            user_id=user_id, id=new_id(), title=title, mode=_known_mode(mode), created_at=now, updated_at=now
        )
        async with self._database.unit_of_work() as uow:
            uow.conversations.add(conversation)
            await uow.commit()
        return conversation

    async def list_page(self, user_id: UUID, *, limit: int, cursor: str | None = None) -> ConversationPage:
        """One page, the conversation talked in last first."""
        after = _read_cursor(cursor) if cursor else None
        async with self._database.read_only() as uow:
            found = await uow.conversations.list_page(user_id, limit=limit + 1, after=after)
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
        return ConversationWithMessages(conversation, messages, siblings)

    async def update(
        self,
        user_id: UUID,
        conversation_id: UUID,
        *,
        title: str | None = None,
        mode: str | None = None,
        active_message_id: UUID | None = None,
    ) -> Conversation:
        """Change what is given. A new mode holds from the next message on.

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
            await uow.commit()
        return conversation

    async def delete(self, user_id: UUID, conversation_id: UUID) -> None:
        """Delete a conversation and everything under it."""
        async with self._database.unit_of_work() as uow:
            await uow.conversations.delete(user_id, conversation_id)
            await uow.commit()

    async def generate_title(self, user_id: UUID, conversation_id: UUID) -> Conversation:
        """Let a cheap model name the conversation; its first words serve where no model answers."""
        async with self._database.read_only() as uow:
            await uow.conversations.require(user_id, conversation_id)
            first = await uow.conversations.list_first_messages(user_id, conversation_id, limit=TITLE_SOURCE_MESSAGES)
        asks = bool(first) and await self._may_ask(user_id)
        title = await self._ask_for_title(user_id, first) if asks else ""
        return await self.update(user_id, conversation_id, title=title or title_from(first[0].content if first else ""))

    async def aclose(self) -> None:
        """Close the connections to OpenRouter and the database; a later call opens them anew."""
        await self._openrouter.aclose()
        await self._database.close()

    async def _ask_for_title(self, user_id: UUID, messages: Sequence[Message]) -> str:
        said = "\n\n".join(f"{each.role}: {each.content[:TITLE_SOURCE_CHARS]}" for each in messages)
        try:
            result = await self._openrouter.chat_completion(
                messages=[{"role": "user", "content": f"{said}\n\n{TITLE_INSTRUCTION}"}],
                model=self._settings().llm_title_model,
                fallback_models=(),  # a title is not worth a dearer model
                user_id=user_id,
                enable_caching=False,
                temperature=0.3,
                max_tokens=TITLE_MAX_TOKENS,
            )
        except (ModelCallFailed, NotConfigured, InvalidField) as error:
            log.warning("title.fallback", error_code=error.code)
            return ""
        await self._record_cost(user_id, result)
        return clean_title(result.content)

    async def _may_ask(self, user_id: UUID) -> bool:
        """A title counts as no message, but its money is the account's: whose month is spent gets the first words."""
        async with self._database.read_only() as uow:
            usage = await self._quotas.usage(uow, user_id, now=self._clock())
        return usage.balance.cost.free > 0 and usage.balance.tokens.free > 0

    async def _record_cost(self, user_id: UUID, result: ChatResult) -> None:
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            plan = await uow.subscriptions.require_plan(user_id, now=now)
            period = period_containing(plan.anchor_at, now)
            await self._quotas.charge(uow, user_id, plan.limits.plan, period, _title_call(result), now=now)
            await uow.commit()


def _title_call(result: ChatResult) -> BilledCall:
    usage = result.usage
    return BilledCall(
        attempt_id=new_id(),
        kind="title",
        message_id=None,
        model=result.model,
        provider=result.provider,
        generation_id=result.completion.generation_id,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens_read=usage.cached_tokens or 0,
        cached_tokens_write=usage.cache_write_tokens or 0,
        cost_usd=usage.cost,
        cache_discount_usd=result.cache_discount_usd,
    )


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


conversation_service = ConversationService(
    settings=get_settings,
    database=database,
    openrouter=openrouter_service,
    quotas=quota_service,
)
