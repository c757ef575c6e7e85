"""``/conversations``: the threads people talk in."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, status
from starlette.responses import StreamingResponse

from app.api.deps import Conversations, CurrentUser, ModelCaller, Titles
from app.api.exports import as_json, as_markdown
from app.api.request_keys import IdempotencyKey, request_key
from app.api.schemas.common import ErrorBody, Text
from app.api.schemas.conversations import (
    ConversationCreate,
    ConversationDetailRead,
    ConversationPageRead,
    ConversationRead,
    ConversationUpdate,
    PlacedMessageRead,
    read_message,
)
from app.services.conversation_service import ConversationWithMessages

router = APIRouter(prefix="/conversations", tags=["conversations"])


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_conversation(
    body: ConversationCreate, user: CurrentUser, conversations: Conversations
) -> ConversationRead:
    """Begin a conversation."""
    return ConversationRead.model_validate(await conversations.create(user.id, **body.model_dump()))


@router.get("")
async def list_conversations(
    user: CurrentUser,
    conversations: Conversations,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    q: Annotated[Text, Query(max_length=200)] = "",
) -> ConversationPageRead:
    """One's own conversations, the one talked in last first; with ``q`` those that say its words."""
    page = await conversations.list_page(user.id, limit=limit, cursor=cursor, query=q)
    return ConversationPageRead.model_validate(page)


@router.get("/{conversation_id}")
async def get_conversation(
    conversation_id: UUID,
    user: CurrentUser,
    conversations: Conversations,
    tree: Literal["active", "all"] = "active",
) -> ConversationDetailRead:
    """A conversation with the messages of its active branch, or of all."""
    found = await conversations.get(user.id, conversation_id, all_branches=tree == "all")
    head = ConversationRead.model_validate(found.conversation)
    messages = [_place(each, found) for each in found.messages]
    return ConversationDetailRead(
        **head.model_dump(), preset_newest_version=found.preset_newest_version, messages=messages
    )


@router.get(
    "/{conversation_id}/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A file, streamed",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/markdown": {"schema": {"type": "string"}},
            },
        }
    },
)
async def export_conversation(
    conversation_id: UUID,
    user: CurrentUser,
    conversations: Conversations,
    format: Literal["json", "markdown"] = "json",
) -> StreamingResponse:
    """Take a conversation away: JSON with all its branches, or Markdown of the active one."""
    export = await conversations.export(user.id, conversation_id, all_branches=format == "json")
    return as_json(export) if format == "json" else as_markdown(export)


@router.patch("/{conversation_id}")
async def update_conversation(
    conversation_id: UUID, body: ConversationUpdate, user: CurrentUser, conversations: Conversations
) -> ConversationRead:
    """Change title, mode, preset, or the branch that is active."""
    changed = await conversations.update(user.id, conversation_id, **body.changes())
    return ConversationRead.model_validate(changed)


@router.delete("/{conversation_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_conversation(conversation_id: UUID, user: CurrentUser, conversations: Conversations) -> None:
    """Delete a conversation with everything under it."""
    await conversations.delete(user.id, conversation_id)


@router.post(
    "/{conversation_id}/generate-title",
    responses={409: {"model": ErrorBody, "description": "The Idempotency-Key came with another request before"}},
)
async def generate_title(
    conversation_id: UUID, user: ModelCaller, titles: Titles, idempotency_key: IdempotencyKey = None
) -> ConversationRead:
    """Let a cheap model name the conversation. The same ``Idempotency-Key`` again gives the same title, once."""
    key = request_key(idempotency_key, f"generate-title {conversation_id}")
    return ConversationRead.model_validate(await titles.generate(user.id, conversation_id, request_key=key))


def _place(message: Any, found: ConversationWithMessages) -> PlacedMessageRead:
    place = found.place_of(message)
    return PlacedMessageRead(
        **vars(read_message(message, found.attachments.get(message.id, ()))),
        sibling_ids=list(place.nearest),
        sibling_count=place.count,
        sibling_index=place.number,
    )
