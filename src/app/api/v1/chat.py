"""``/chat``: ask, and read the answer whole or as it comes."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from app.api.deps import Chat, ModelCaller, Seat
from app.api.schemas.chat import ChatBody, ChatRead
from app.api.schemas.common import ErrorBody
from app.api.sse import stream_answer
from app.domain.prompting import Document
from app.services.chat_events import encode
from app.services.chat_turn import Question, RequestKey

router = APIRouter(prefix="/chat", tags=["chat"])


@router.post(
    "",
    response_model=ChatRead,
    responses={
        200: {
            "description": "The answer; with `stream: true` Server-Sent Events, see docs/api.md",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        400: {"model": ErrorBody, "description": "Quota exceeded, or content that cannot be sent"},
        409: {"model": ErrorBody, "description": "The Idempotency-Key came with another body before"},
        404: {"model": ErrorBody, "description": "No such conversation or preset"},
        502: {"model": ErrorBody, "description": "No model answered"},
    },
)
async def chat(
    body: ChatBody,
    seat: Seat,
    user: ModelCaller,
    chat: Chat,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Response:
    """Ask a question in a conversation. The same ``Idempotency-Key`` again gives the same answer, charged once."""
    request_key = RequestKey(idempotency_key, _fingerprint(body)) if idempotency_key else None
    answer = await chat.ask(
        user.id, body.conversation_id, _question(body), streaming=body.stream, request_key=request_key
    )
    answer.when_closed(seat.hand_over())
    if body.stream:
        return stream_answer(answer)
    return Response(encode(await answer.wait_for_reply()), media_type="application/json")


def _fingerprint(body: ChatBody) -> bytes:
    # How the answer is read does not change what is asked.
    return hashlib.sha256(body.model_dump_json(exclude={"stream"}).encode()).digest()


def _question(body: ChatBody) -> Question:
    return Question(
        content=body.message,
        enable_caching=body.enable_caching,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        model=body.model,
        fallback_models=body.fallback_models,
        preset_id=body.preset_id,
        documents=[Document(text=each.text, title=each.title, source=each.source) for each in body.context],
    )
