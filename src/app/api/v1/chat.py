"""``/chat``: ask, ask again or in other words, and read the answer whole or as it comes."""

from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.deps import AnswerAsker, Asker, CacheStats, Chat, CurrentUser
from app.api.request_keys import IdempotencyKey, request_key
from app.api.schemas.cache import CacheStatsRead
from app.api.schemas.chat import AnswerOptions, ChatBody, ChatRead, EditBody, StructuredBody, StructuredRead
from app.api.schemas.common import ErrorBody
from app.api.sse import stream_answer
from app.api.whole_answer import whole_answer
from app.domain.links import Link
from app.domain.prompting import Document
from app.domain.web_search import WebSearchOptions
from app.services.answer_log import AnswerLog
from app.services.chat_turn import Question

router = APIRouter(prefix="/chat", tags=["chat"])

_TURN: dict[str, Any] = {
    "response_model": ChatRead,
    "responses": {
        200: {
            "description": "The answer; with `stream: true` Server-Sent Events, see docs/api.md",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        400: {"model": ErrorBody, "description": "Quota exceeded, or content that cannot be sent"},
        404: {"model": ErrorBody, "description": "No such conversation, message or preset"},
        409: {"model": ErrorBody, "description": "The Idempotency-Key came with another body, or an answer still runs"},
        502: {"model": ErrorBody, "description": "No model answered"},
    },
}


@router.post("", **_TURN)
async def chat(
    request: Request, body: ChatBody, asker: AnswerAsker, chat: Chat, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask a question in a conversation. The same ``Idempotency-Key`` again gives the same answer, charged once."""
    answer = await chat.ask(
        asker.id,
        body.conversation_id,
        _question(body, body.message),
        parent_id=body.parent_id,
        request_key=request_key(idempotency_key, "", body),
    )
    return await _tell(request, answer, body, asker)


@router.post("/structured", **_TURN | {"response_model": StructuredRead})
async def structured(
    request: Request, body: StructuredBody, asker: AnswerAsker, chat: Chat, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask for data that fits a JSON Schema. What does not fit is mended, asked for anew or refused, never returned."""
    answer = await chat.ask_by_schema(
        asker.id,
        body.conversation_id,
        _question(body, body.message),
        body.response_schema,
        parent_id=body.parent_id,
        request_key=request_key(idempotency_key, "structured", body),
    )
    return await _tell(request, answer, body, asker)


@router.post("/messages/{message_id}/regenerate", **_TURN)
async def regenerate(
    request: Request,
    message_id: UUID,
    asker: AnswerAsker,
    chat: Chat,
    body: AnswerOptions | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Answer the question of this message once more; both answers stay."""
    body = body or AnswerOptions()
    answer = await chat.regenerate(
        asker.id,
        message_id,
        _question(body, ""),
        request_key=request_key(idempotency_key, f"regenerate {message_id}", body),
    )
    return await _tell(request, answer, body, asker)


@router.post("/messages/{message_id}/edit", **_TURN)
async def edit(
    request: Request,
    message_id: UUID,
    body: EditBody,
    asker: AnswerAsker,
    chat: Chat,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask in place of this question, in other words; both stay, each with what follows it."""
    answer = await chat.edit(
        asker.id,
        message_id,
        _question(body, body.message),
        request_key=request_key(idempotency_key, f"edit {message_id}", body),
    )
    return await _tell(request, answer, body, asker)


async def _tell(request: Request, answer: AnswerLog, body: AnswerOptions, asker: Asker) -> Response:
    asker.hand_over(answer)
    if body.stream:
        return stream_answer(answer)
    return await whole_answer(answer, request)


@router.get(
    "/cache-stats/{conversation_id}", responses={404: {"model": ErrorBody, "description": "No such conversation"}}
)
async def cache_stats(conversation_id: UUID, user: CurrentUser, stats: CacheStats) -> CacheStatsRead:
    """How well prompt caching served a conversation, and why it did not where it did not."""
    return CacheStatsRead.model_validate(await stats.of_conversation(user.id, conversation_id))


def _question(body: AnswerOptions, content: str) -> Question:
    urls = body.attachment_urls if isinstance(body, EditBody) else None
    return Question(
        content=content,
        attachment_ids=body.attachment_ids if isinstance(body, EditBody) else None,
        links=None if urls is None else [Link(each.kind, each.url) for each in urls],
        enable_caching=body.enable_caching,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        model=body.model,
        fallback_models=body.fallback_models,
        preset_id=body.preset_id,
        pdf_engine=body.pdf_engine,
        documents=[Document(text=each.text, title=each.title, source=each.source) for each in body.context],
        web_search=_web_search(body),
    )


def _web_search(body: AnswerOptions) -> WebSearchOptions | Literal[False] | None:
    asked = body.web_search
    if asked is None:
        return None
    if isinstance(asked, bool):
        return WebSearchOptions() if asked else False
    return WebSearchOptions(
        max_results=asked.max_results,
        max_searches=asked.max_searches,
        context_size=asked.context_size,
        allowed_domains=tuple(asked.allowed_domains),
        excluded_domains=tuple(asked.excluded_domains),
    )
