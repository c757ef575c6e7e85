"""Naming a conversation when somebody asks for it: once for each idempotency key."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from app.core.clock import Clock, utc_now
from app.core.errors import NotFound
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import IdempotencyKey
from app.services.chat_turn import RequestKey
from app.services.closing import durably, uninterrupted
from app.services.repeated_requests import RepeatedRequests, claim, repeated_requests
from app.services.side_calls import SideAnswer
from app.services.titles import Titles, TitleTask, titles


@dataclass(frozen=True, slots=True, kw_only=True)
class TitledConversation:
    """A conversation as it stood when it got its title."""

    id: UUID
    title: str
    mode: str
    created_at: datetime
    updated_at: datetime
    active_message_id: UUID | None
    preset_id: UUID | None = None
    preset_version: int | None = None
    preset_values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """What was asked for, under which id and key."""

    made: UUID
    user_id: UUID
    conversation_id: UUID
    request_key: RequestKey | None
    task: TitleTask


class TitleService:
    """The use case behind ``POST /conversations/{id}/generate-title``."""

    def __init__(
        self, *, database: Database, titles: Titles, repeated: RepeatedRequests, clock: Clock = utc_now
    ) -> None:
        self._database = database
        self._titles = titles
        self._repeated = repeated
        self._clock = clock

    async def generate(
        self, user_id: UUID, conversation_id: UUID, *, request_key: RequestKey | None = None
    ) -> TitledConversation:
        """Let a cheap model name the conversation; its first words serve where none answers or nothing is left.

        The same ``request_key`` again waits for the title that is being made, or gives the one that was made.
        """
        request = await self._open(user_id, conversation_id, request_key)
        if isinstance(request, IdempotencyKey):
            return msgspec.json.decode(await self._repeated.wait_for_reply(request), type=TitledConversation)
        answer = await self._titles.run(request.task)
        return await uninterrupted(durably(partial(self._close, request, answer)))

    async def aclose(self) -> None:
        """Close the connections to OpenRouter and the database; a later call opens them anew."""
        await self._titles.aclose()
        await self._database.close()

    async def _open(
        self, user_id: UUID, conversation_id: UUID, request_key: RequestKey | None
    ) -> OpenRequest | IdempotencyKey:
        made = new_id()
        async with self._database.unit_of_work() as uow:
            if request_key is not None:
                claimed = await claim(uow, user_id, request_key, made=made, now=self._clock())
                if claimed is not None:
                    return claimed
            await uow.conversations.require(user_id, conversation_id)
            request = OpenRequest(
                made=made,
                user_id=user_id,
                conversation_id=conversation_id,
                request_key=request_key,
                task=await self._titles.open(uow, user_id, conversation_id, made=made),
            )
            await uow.commit()
        return request

    async def _close(self, request: OpenRequest, answer: SideAnswer | None) -> TitledConversation:
        async with self._database.unit_of_work() as uow:
            title = await self._titles.close(uow, request.task, answer)
            try:
                conversation = await uow.conversations.require(
                    request.user_id, request.conversation_id, for_update=True
                )
            except NotFound:  # deleted meanwhile: what was billed is charged all the same
                await uow.idempotency.forget_unanswered(request.user_id, request.made)
                await uow.commit()
                raise
            conversation.title = title
            titled = TitledConversation(
                id=conversation.id,
                title=title,
                mode=conversation.mode,
                created_at=conversation.created_at,
                updated_at=conversation.updated_at,
                active_message_id=conversation.active_message_id,
                preset_id=conversation.preset_id,
                preset_version=conversation.preset_version,
                preset_values=conversation.preset_values,
            )
            if request.request_key is not None:
                reply = msgspec.json.encode(titled).decode()
                await uow.idempotency.keep_reply(request.user_id, request.request_key.key, request.made, reply)
            await uow.commit()
        return titled


title_service = TitleService(database=database, titles=titles, repeated=repeated_requests)
