"""What an answer tells its readers while it comes into being: the events of ``docs/api.md``, one class each."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from app.core.text import storable
from app.db.models import Message
from app.openrouter.attempts import Attempt
from app.openrouter.cache_verdicts import CacheVerdict
from app.openrouter.hosts import stops_billing
from app.openrouter.route_run import AttemptFailed as FailedCall
from app.openrouter.route_run import RouteEvent
from app.openrouter.structured_output import PartialAnswer
from app.openrouter.types import AnnotationDelta, ImageDelta, RefusalDelta
from app.openrouter.types import ContentDelta as TextPiece
from app.openrouter.types import ReasoningDelta as ThoughtPiece
from app.services.chat_turn import TrimmedContext, Turn, milliseconds
from app.services.citations import Source, Sources, sources_of
from app.services.model_call import ChatResult, ModelCall, ModelCallFailed, tell_attempt


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


class StructuredDelta(ChatEvent, frozen=True, kw_only=True):
    """The data as far as it can be read, whole each time; it is checked only once it is whole."""

    name = "structured.delta"
    partial: Any


class Citation(Source, ChatEvent, frozen=True, kw_only=True):
    """A source the model names."""

    name = "citation"


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


class ContentReset(ChatEvent, frozen=True, kw_only=True):
    """Everything shown of this answer so far is void: its model or host broke off, and another begins anew."""

    name = "content.reset"
    reason: str


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
    pdf_ocr_cost_usd: Decimal | None = None
    web_search_requests: int | None = None
    web_search_cost_usd: Decimal | None = None
    """A part of the total, where pages of documents were recognised."""
    audio_tokens: int | None = None
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
    structured_data: Any = UNSET
    """Here and below: only in answers by a schema."""
    schema_validation_passed: bool | UnsetType = UNSET
    outcome: str | UnsetType | None = UNSET


class Billing(StrEnum):
    """What happens to the bill of a stopped answer."""

    STOPS = "stops"
    CONTINUES = "continues"
    UNKNOWN = "unknown"
    NOTHING = "nothing"


class MessageStopped(ChatReply, frozen=True, kw_only=True):
    """Somebody stopped the answer, or its last reader left for good: what had come is kept, and is what is charged.

    ``billing`` is whether the model's host stops with us or bills the answer it would have given; the bill itself
    comes later, so costs are null here.
    """

    name = "message.stopped"
    is_last = True
    stop_reason: str
    billing: Billing


AnyReply = TypeVar("AnyReply", bound=ChatReply)


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
    misfits: list[dict[str, Any]] | UnsetType = UNSET
    """What was wrong with the last answer; only where a schema was not satisfied."""


EVENTS: tuple[type[ChatEvent], ...] = (
    MessageStarted,
    ReasoningDelta,
    ContentDelta,
    StructuredDelta,
    Citation,
    Image,
    AttemptFailed,
    ContentReset,
    ContextTrimmed,
    ChatReply,
    MessageStopped,
    MessageInterrupted,
    MessageFailed,
)
"""All that a log may hold."""

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoders: dict[str, msgspec.json.Decoder[ChatEvent]] = {each.name: msgspec.json.Decoder(each) for each in EVENTS}


class _KeptReply(msgspec.Struct):
    """What tells a stopped answer from a whole one among those kept for repeated requests."""

    stop_reason: str | None = None


def encode(event: ChatEvent) -> bytes:
    """The event's data as JSON; money stands as exact decimal numbers."""
    return _encoder.encode(event)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer ended: the last event of its stream, and its status in a word."""

    message_id: UUID
    status: str
    ending: ChatEvent


def encode_ending(ending: ChatEvent) -> bytes:
    """How an answer ended, as JSON."""
    message_id: UUID = ending.message_id  # type: ignore[attr-defined]  # every last event has one
    return _encoder.encode(Ending(message_id=message_id, status=ending.name.partition(".")[2], ending=ending))


def decode(name: str, data: bytes | str) -> ChatEvent:
    """An event as it was encoded; encoded again it is the same to the letter."""
    return _decoders[name].decode(data)


def decode_reply(text: str) -> ChatReply:
    """The answer that was kept for a repeated request, whole or stopped."""
    is_stopped = msgspec.json.decode(text, type=_KeptReply).stop_reason is not None
    return msgspec.json.decode(text, type=MessageStopped if is_stopped else ChatReply)


def retold(reply: ChatReply) -> tuple[ChatEvent, ...]:
    """The events of an answer that is whole already."""
    first = MessageStarted(
        message_id=reply.message_id,
        user_message_id=reply.user_message_id,
        conversation_id=reply.conversation_id,
        model=reply.models_attempted[0] if reply.models_attempted else reply.model,
    )
    text: tuple[ChatEvent, ...] = (ContentDelta(text=reply.content),) if reply.content else ()
    if reply.schema_validation_passed is not UNSET:
        text = (StructuredDelta(partial=reply.structured_data),) if reply.schema_validation_passed else ()
    return (first, *reply.citations, *text, reply)


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


def told(piece: RouteEvent, sources: Sources) -> ChatEvent | None:
    """The event that tells a piece of the wire's stream; ``None`` for what readers need not know.

    ``sources`` are those named so far in this answer.
    """
    match piece:
        case TextPiece(text) | RefusalDelta(text):
            return ContentDelta(text=_as_kept(text))
        case ThoughtPiece(text):
            return ReasoningDelta(text=_as_kept(text))
        case ImageDelta(url):
            return Image(url=url)
        case AnnotationDelta(annotation):
            source = sources.add(annotation)
            return _citation(source) if source else None
    return None


def _as_kept(text: str) -> str:
    # What no store can hold is not shown either: the pieces are the stored text, cut. Nearly never there.
    return storable(text) if "\0" in text else text


def told_structured(piece: RouteEvent, partial: PartialAnswer, sources: Sources) -> ChatEvent | None:
    """The same where the answer has to fit a schema: its text is told as the data it stands for, not as it is."""
    match piece:
        case TextPiece(text):
            data = partial.add(text)
            return None if data is None else StructuredDelta(partial=data)
        case RefusalDelta():
            return None
    return told(piece, sources)


def told_failure(failure: FailedCall) -> tuple[ChatEvent, ...]:
    """What readers are told when a call failed and another follows: also that what it showed is void."""
    attempt, error = failure.attempt, failure.attempt.error or "unknown"
    failed_call = AttemptFailed(model=attempt.model, provider=attempt.provider, error=error)
    return (failed_call, ContentReset(reason=error)) if failure.content_came else (failed_call,)


def _citation(source: Source) -> Citation:
    return Citation(**msgspec.structs.asdict(source))


def reply(turn: Turn, result: ChatResult) -> ChatReply:
    """The last event of an answered turn."""
    usage, attempt = result.usage, result.attempts[-1]
    content = storable(result.content)
    sources = sources_of(result.completion.annotations, content)
    return ChatReply(
        message_id=turn.message_id,
        user_message_id=turn.user_message_id,
        conversation_id=turn.conversation_id,
        content=content,
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
        cache=_cache_report(result.caching[-1].verdict, result.cache_breakpoint_count),
        total_cost_usd=_plain(result.total_cost_usd),
        pdf_ocr_cost_usd=_plain(result.pdf_ocr_cost_usd),
        web_search_requests=usage.searches,
        web_search_cost_usd=_plain(usage.search_cost),
        audio_tokens=usage.audio_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        finish_reason=result.finish_reason,
        routing_strategy=result.route.routing_strategy,
        fallback_used=result.route.fallback_used,
        models_attempted=list(result.route.models_attempted),
        notes=list(result.notes),
        citations=[_citation(each) for each in sources],
        first_token_ms=milliseconds(attempt.first_token_seconds),
        latency_ms=milliseconds(attempt.latency_seconds),
        created_at=turn.created_at,
        **(_structured(result.structured.data, result.structured.outcome) if result.structured else {}),
    )


def _structured(data: Any, outcome: str | None) -> dict[str, Any]:
    """The fields that only answers by a schema have. Without an outcome no data was checked, and none is told."""
    return {
        "structured_data": data if outcome else None,
        "schema_validation_passed": outcome is not None,
        "outcome": outcome,
    }


def _cache_report(verdict: CacheVerdict | None, breakpoints: int) -> CacheReport:
    return CacheReport(
        outcome=verdict.outcome.value if verdict else None,
        detail=verdict.detail if verdict else None,
        breakpoints=breakpoints,
    )


def stopped(turn: Turn, call: ModelCall, shown: str, sources: Sequence[Source], reason: str) -> MessageStopped:
    """The last event of a turn that was ended before its answer was whole."""
    attempts, route = call.attempts, call.route
    last = attempts[-1] if attempts else None
    return MessageStopped(
        message_id=turn.message_id,
        user_message_id=turn.user_message_id,
        conversation_id=turn.conversation_id,
        content=storable(shown),
        model=last.model if last else turn.planned.request.model,
        provider=last.provider if last else None,
        usage=UsageReport(prompt_tokens=None, completion_tokens=None, total_tokens=None),
        cached_tokens_read=None,
        cached_tokens_write=None,
        cache_discount_usd=None,
        cache=_cache_report(call.caching[-1].verdict if attempts else None, len(call.planned.cache.breakpoints)),
        total_cost_usd=None,
        reasoning_tokens=None,
        finish_reason=None,
        routing_strategy=route.routing_strategy,
        fallback_used=route.fallback_used,
        models_attempted=list(route.models_attempted),
        notes=list(turn.planned.route.notes),
        citations=[_citation(each) for each in sources],
        first_token_ms=milliseconds(last.first_token_seconds) if last else None,
        latency_ms=milliseconds(last.latency_seconds) if last else None,
        created_at=turn.created_at,
        stop_reason=reason,
        billing=_billing(last),
        **(_structured(None, None) if turn.planned.schema else {}),
    )


def _billing(last: Attempt | None) -> Billing:
    if last is None or last.error != "cancelled" or last.generation_id is None:
        return Billing.NOTHING  # no call ran that could be billed to the person
    return billing_by(stops_billing(last.provider))


def billing_by(host_stops: bool | None) -> Billing:
    """In words for readers: whether a host's bill ends with the call."""
    return Billing.UNKNOWN if host_stops is None else Billing.STOPS if host_stops else Billing.CONTINUES


def stored_reply(kind: type[AnyReply], message: Message, **more: Any) -> AnyReply:
    """An answer's last event from its stored message."""
    return kind(
        message_id=message.id,
        user_message_id=message.parent_id or message.id,
        conversation_id=message.conversation_id,
        content=message.content,
        model=message.final_model_used or message.model or "",
        provider=message.provider,
        usage=UsageReport(
            prompt_tokens=message.prompt_tokens,
            completion_tokens=message.completion_tokens,
            total_tokens=message.total_tokens,
        ),
        cached_tokens_read=message.cached_tokens_read,
        cached_tokens_write=message.cached_tokens_write,
        cache_discount_usd=_plain(message.cache_discount_usd),
        cache=CacheReport(
            outcome=message.cache_outcome,
            detail=message.cache_detail,
            breakpoints=message.cache_breakpoint_count or 0,
        ),
        total_cost_usd=_plain(message.total_cost_usd),
        pdf_ocr_cost_usd=_plain(message.pdf_ocr_cost_usd),
        web_search_requests=message.web_search_requests,
        web_search_cost_usd=_plain(message.web_search_cost_usd),
        audio_tokens=message.audio_tokens,
        reasoning_tokens=message.reasoning_tokens,
        finish_reason=message.finish_reason,
        routing_strategy=message.routing_strategy or "",
        fallback_used=bool(message.fallback_used),
        models_attempted=message.models_attempted or [],
        notes=message.notes,
        citations=[Citation(**each) for each in message.citations or ()],
        first_token_ms=message.first_token_ms,
        latency_ms=message.latency_ms,
        created_at=message.created_at,
        **(_structured(message.structured_data, message.schema_outcome) if message.response_schema is not None else {}),
        **more,
    )


def failed(turn: Turn, refusal: ModelCallFailed) -> MessageFailed:
    """The last event of a turn that no model answered."""
    return MessageFailed(
        message_id=turn.message_id,
        error=refusal.code,
        detail=refusal.detail,
        attempts=[tell_attempt(each) for each in refusal.attempts],
        misfits=refusal.fields.get("misfits", UNSET),
    )


def _plain(money: Decimal | None) -> Decimal | None:
    # 0E-7 and 2.50E-3 are JSON numbers too, but no person wants to read them.
    return None if money is None else Decimal(f"{money.normalize():f}")
