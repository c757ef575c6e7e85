"""``/chat/messages/{id}``: read along in an answer, or stop it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from app.api.deps import Chat, CurrentUser
from app.api.schemas.chat import StoppedRead
from app.api.schemas.common import ErrorBody
from app.api.sse import stream_answer
from app.services.answer_log import MOST_EVENTS
from app.services.chat_events import encode_ending

router = APIRouter(prefix="/chat/messages/{message_id}", tags=["chat"])


@router.get(
    "/stream",
    responses={
        200: {
            "description": "Server-Sent Events, see docs/api.md",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "Nothing is behind the event that was named, nor will be"},
        404: {"model": ErrorBody, "description": "No such answer"},
    },
)
async def read_stream(
    message_id: UUID,
    user: CurrentUser,
    chat: Chat,
    after: Annotated[int, Query(ge=0, le=MOST_EVENTS, description="The last event you have")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, le=MOST_EVENTS)] = None,
) -> Response:
    """Read on in an answer from where you left off, or read along in another tab."""
    read_so_far = after if last_event_id is None else last_event_id
    answer = await chat.follow(user.id, message_id, after=read_so_far)
    return Response(status_code=204) if answer is None else stream_answer(answer, after=read_so_far)


@router.post(
    "/stop",
    response_model=StoppedRead,
    responses={
        404: {"model": ErrorBody, "description": "No such answer"},
        503: {"model": ErrorBody, "description": "The server that writes the answer cannot be reached"},
    },
)
async def stop(message_id: UUID, user: CurrentUser, chat: Chat) -> Response:
    """End a running answer now and keep what came. One that has ended already stays as it is."""
    return Response(encode_ending(await chat.stop(user.id, message_id)), media_type="application/json")
