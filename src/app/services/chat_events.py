"""What an answer tells its readers while it comes into being: the events of ``docs/api.md``, one class each."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from app.core.text import storable
from app.openrouter.route_run import AttemptFailed as FailedCall
from app.openrouter.route_run import RouteEvent
from app.openrouter.types import AnnotationDelta, ImageDelta, RefusalDelta
from app.openrouter.types import ContentDelta as TextPiece
from app.openrouter.types import ReasoningDelta as ThoughtPiece
from app.services.chat_turn import TrimmedContext, Turn, milliseconds
from app.services.model_call import ChatResult, ModelCallFailed, tell_attempt


class ChatEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event; ``name`` is its SSE event name. ``is_last`` ends the stream."""

    name: ClassVar[str]
    is_last: ClassVar[bool] = False


class MessageStarted(ChatEvent, frozen=True, kw_only=True):
    """The question is stored and a model is being asked."""

    name = "message.started"
    message_id: UUID
    user_message_id: UUID
    conversation_id: UUID
    model: str


class ReasoningDelta(ChatEvent, frozen=True, kw_only=True):
    """More of the model's thinking."""

    name = "reasoning.delta"
    text: str


class ContentDelta(ChatEvent, frozen=True, kw_only=True):
    """More text of the answer."""

    name = "content.delta"
    text: str


class Citation(ChatEvent, frozen=True, kw_only=True):
    """A source the model names."""

    name = "citation"
    url: str
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Image(ChatEvent, frozen=True, kw_only=True):
    """A picture within the answer."""

    name = "image"
    url: str


class AttemptFailed(ChatEvent, frozen=True, kw_only=True):
    """One model or host failed; another one is being asked."""

    name = "attempt.failed"
    model: str
    provider: str | None
    error: str


class ContextTrimmed(ChatEvent, frozen=True, kw_only=True):
    """Older messages did not go along as they were said; ``tokens`` is the length of the prompt, estimated."""

    name = "context.trimmed"
    kept_messages: int
    summarised_messages: int
    left_out_messages: int
    tokens: int


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the turn; totals include cached, written, reasoning and audio tokens. Unknown is null."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None


class CacheReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the prompt at the provider's cache: a hit, or why not; ``detail`` names what it is about."""

    outcome: str | None
    detail: str | None
    breakpoints: int


class ChatReply(ChatEvent, frozen=True, kw_only=True):
    """A whole answer: the last event of its stream, and the body of a call without a stream."""

    name = "message.completed"
    is_last = True
    message_id: UUID
    user_message_id: UUID
    conversation_id: UUID
    content: str
    model: str
    provider: str | None
    usage: UsageReport
    cached_tokens_read: int | None
    cached_tokens_write: int | None
    cache_discount_usd: Decimal | None
    cache: CacheReport | None = None
    total_cost_usd: Decimal | None
    reasoning_tokens: int | None
    finish_reason: str | None
    routing_strategy: str
    fallback_used: bool
    models_attempted: list[str]
    notes: list[str]
    citations: list[Citation]
    first_token_ms: int | None
    latency_ms: int | None
    created_at: datetime


class MessageInterrupted(ChatEvent, frozen=True, kw_only=True):
    """The server went away in mid-answer; what had come is kept. Reconnect, or ask again."""

    name = "message.interrupted"
    is_last = True
    message_id: UUID


class MessageFailed(ChatEvent, frozen=True, kw_only=True):
    """No answer; nothing was charged. The same ``error`` and ``detail`` as a refused call."""

    name = "message.failed"
    is_last = True
    message_id: UUID
    error: str
    detail: str
    attempts: list[dict[str, Any]] = []


_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(event: ChatEvent) -> bytes:
    """The event's data as JSON; money stands as exact decimal numbers."""
    return _encoder.encode(event)


def decode_reply(text: str) -> "ChatReply":
    """An answer as it was encoded; encoded again it is the same to the letter."""
    return msgspec.json.decode(text, type=ChatReply)


def retold(reply: "ChatReply") -> tuple[ChatEvent, ...]:
    """The events of an answer that is whole already."""
    first = MessageStarted(
        message_id=reply.message_id,
        user_message_id=reply.user_message_id,
        conversation_id=reply.conversation_id,
        model=reply.models_attempted[0],
    )
    return (first, *reply.citations, ContentDelta(text=reply.content), reply)


def started(turn: Turn) -> MessageStarted:
    """The first event of a turn."""
    return MessageStarted(
        message_id=turn.message_id,
        user_message_id=turn.user_message_id,
        conversation_id=turn.conversation_id,
        model=turn.planned.request.model,
    )


def trimmed(context: TrimmedContext) -> ContextTrimmed:
    """The event that tells of earlier messages that are not sent as they were said."""
    return ContextTrimmed(
        kept_messages=context.kept_messages,
        summarised_messages=context.summarised_messages,
        left_out_messages=context.left_out_messages,
        tokens=context.tokens,
    )


def told(piece: RouteEvent) -> ChatEvent | None:
    """The event that tells a piece of the wire's stream; ``None`` for what readers need not know."""
    match piece:
        case TextPiece(text) | RefusalDelta(text):
            return ContentDelta(text=text)
        case ThoughtPiece(text):
            return ReasoningDelta(text=text)
        case ImageDelta(url):
            return Image(url=url)
        case FailedCall(attempt):
            return AttemptFailed(model=attempt.model, provider=attempt.provider, error=attempt.error or "unknown")
        case AnnotationDelta(annotation):
            return citation_of(annotation)
    return None


def citation_of(annotation: Mapping[str, Any]) -> Citation | None:
    """The source an annotation names; ``None`` when it is something else."""
    cited = annotation.get("url_citation")
    if annotation.get("type") != "url_citation" or not isinstance(cited, dict) or not cited.get("url"):
        return None
    return Citation(
        url=cited["url"],
        title=cited.get("title"),
        start_index=cited.get("start_index"),
        end_index=cited.get("end_index"),
    )


def reply(turn: Turn, result: ChatResult) -> ChatReply:
    """The last event of an answered turn."""
    usage, attempt = result.usage, result.attempts[-1]
    citations = [citation_of(each) for each in result.completion.annotations]
    return ChatReply(
        message_id=turn.message_id,
        user_message_id=turn.user_message_id,
        conversation_id=turn.conversation_id,
        content=storable(result.content),
        model=result.model,
        provider=result.provider,
        usage=UsageReport(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
        ),
        cached_tokens_read=usage.cached_tokens,
        cached_tokens_write=usage.cache_write_tokens,
        cache_discount_usd=_plain(result.cache_discount_usd),
        cache=_cache_report(result),
        total_cost_usd=_plain(result.total_cost_usd),
        reasoning_tokens=usage.reasoning_tokens,
        finish_reason=result.finish_reason,
        routing_strategy=result.route.routing_strategy,
        fallback_used=result.route.fallback_used,
        models_attempted=list(result.route.models_attempted),
        notes=list(result.notes),
        citations=[each for each in citations if each is not None],
        first_token_ms=milliseconds(attempt.first_token_seconds),
        latency_ms=milliseconds(attempt.latency_seconds),
        created_at=turn.created_at,
    )


def _cache_report(result: ChatResult) -> CacheReport:
    verdict = result.caching[-1].verdict
    return CacheReport(
        outcome=verdict.outcome.value if verdict else None,
        detail=verdict.detail if verdict else None,
        breakpoints=result.cache_breakpoint_count,
    )


def failed(turn: Turn, refusal: ModelCallFailed) -> MessageFailed:
    """The last event of a turn that no model answered."""
    return MessageFailed(
        message_id=turn.message_id,
        error=refusal.code,
        detail=refusal.detail,
        attempts=[tell_attempt(each) for each in refusal.attempts],
    )


def _plain(money: Decimal | None) -> Decimal | None:
    # 0E-7 and 2.50E-3 are JSON numbers too, but no person wants to read them.
    return None if money is None else Decimal(f"{money.normalize():f}")
