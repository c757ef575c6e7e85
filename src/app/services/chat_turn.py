"""One turn of a chat as rows: what is written when it opens, and when it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from app.core.ids import new_id
from app.core.text import storable
from app.db.repositories.branches import PastMessage
from app.domain.context_window import Room
from app.domain.ledger import PDF_OCR, WEB_SEARCH
from app.domain.links import Link
from app.domain.prompting import Document
from app.domain.rollups import AnswerFacts
from app.domain.web_search import WebSearchOptions
from app.openrouter.answer_schema import AnswerSchema
from app.openrouter.attempts import Attempt
from app.openrouter.cache_accounts import CacheAccount
from app.openrouter.cache_prints import CachedCall, decode, encode
from app.openrouter.cache_verdicts import CacheVerdict
from app.openrouter.parsed_files import PdfOption
from app.services.model_call import AttemptCaching, ChatResult, ModelCall, PlannedCompletion, sane_usage
from app.services.quota_service import BilledCall, Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person asks, and how. ``None`` means the preset's value, else the setting's default."""

    content: str
    enable_caching: bool = True
    temperature: float | None = None
    max_tokens: int | None = None
    model: str | None = None
    fallback_models: Sequence[str] | None = None
    preset_id: UUID | None = None
    documents: Sequence[Document] = ()
    schema: AnswerSchema | None = None
    """What the answer has to fit."""
    links: Sequence[Link] | None = None
    """Files that lie elsewhere. An edited question keeps those of the old one where ``None`` are given."""
    attachment_ids: Sequence[UUID] | None = None
    """Files that were uploaded; the same holds for them."""
    pdf_engine: PdfOption = "auto"
    web_search: WebSearchOptions | Literal[False] | None = None
    """``None``: nothing is looked up."""


@dataclass(frozen=True, slots=True)
class MessageIds:
    """The ids of a turn's two messages; the question's sorts before the answer's."""

    asked: UUID
    answer: UUID


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A client's idempotency key, and the fingerprint of what it asks for under it."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimmedContext:
    """Earlier messages: how many are sent as they were, how many as a summary, how many not; tokens of the prompt."""

    kept_messages: int
    summarised_messages: int
    left_out_messages: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An open turn: what was written and held in *open*, and what will be sent."""

    user_id: UUID
    conversation_id: UUID
    parent_id: UUID | None
    """What the question follows."""
    user_message_id: UUID
    message_id: UUID
    is_asked_anew: bool
    """The question stood there before: only the answer is new."""
    depth: int
    """How many messages come before the question on its branch."""
    tokens_before: int
    """How long those are in a prompt."""
    question_tokens: int
    created_at: datetime
    lease: Lease
    planned: PlannedCompletion
    preset_id: UUID | None
    preset_version: int | None
    request_key: RequestKey | None
    trimmed: TrimmedContext | None
    """What became of earlier messages that do not go along as they were said."""
    room: Room
    """What the window leaves for earlier messages."""
    is_untitled: bool


def cached_calls(past: Sequence[PastMessage]) -> list[CachedCall]:
    """What the last answers left in a cache, newest first."""
    found = (decode(each.left_in_cache) for each in reversed(past))
    return [each for each in found if each is not None]


def opening_rows(turn: Turn, question: Question) -> list[dict[str, Any]]:
    """The person's message, unless it stands there already, and the pending answer."""
    shared = {"user_id": turn.user_id, "conversation_id": turn.conversation_id, "created_at": turn.created_at}
    asked = {
        **shared,
        "id": turn.user_message_id,
        "parent_id": turn.parent_id,
        "role": "user",
        "status": "completed",
        "content": question.content,
        "model": None,
        "preset_id": None,
        "preset_version": None,
        "is_provisional": False,
        "depth": turn.depth,
        "tokens_before": turn.tokens_before,
        "notes": [],
        "attachment_urls": [each.as_row() for each in question.links or ()],
        "attachment_count": len(question.attachment_ids or ()),
    }
    pending = {
        **shared,
        "id": turn.message_id,
        "parent_id": turn.user_message_id,
        "role": "assistant",
        "status": "pending",
        "content": "",
        "model": turn.planned.request.model,
        "preset_id": turn.preset_id,
        "preset_version": turn.preset_version,
        "is_provisional": False,
        "depth": turn.depth + 1,
        "tokens_before": turn.tokens_before + turn.question_tokens,
        "notes": list(turn.planned.route.notes),
        "attachment_urls": [],
        "attachment_count": 0,
    }
    if turn.planned.schema is not None:
        pending["response_schema"] = turn.planned.schema.schema
    return [pending] if turn.is_asked_anew else [asked, pending]


def ending_values(status: str, content: str, now: datetime) -> dict[str, Any]:
    """What every ended answer records, however it ended."""
    return {"status": status, "content": storable(content), "completed_at": now}


def completed_values(turn: Turn, result: ChatResult, now: datetime) -> dict[str, Any]:
    """What a whole answer records: text and accounting."""
    usage, attempt = result.usage, result.attempts[-1]
    return ending_values("completed", result.content, now) | {
        "reasoning": storable(result.completion.reasoning) or None,
        "finish_reason": result.finish_reason,
        "notes": list(result.notes),
        "provider": result.provider,
        "generation_id": attempt.generation_id,
        "first_token_ms": milliseconds(attempt.first_token_seconds),
        "latency_ms": milliseconds(attempt.latency_seconds),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "total_cost_usd": result.total_cost_usd,
        "pdf_ocr_cost_usd": result.pdf_ocr_cost_usd,
        "web_search_requests": usage.searches,
        "web_search_cost_usd": usage.search_cost,
        "is_provisional": result.total_cost_usd is None and attempt.generation_id is not None,
        "cached_tokens_read": usage.cached_tokens,
        "cached_tokens_write": usage.cache_write_tokens,
        "cache_discount_usd": result.cache_discount_usd,
        "cache_breakpoint_count": result.cache_breakpoint_count,
        **_verdict_values(result.caching[-1].verdict),
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.audio_tokens,
        "upstream_inference_cost_usd": usage.upstream_inference_cost,
        "routing_strategy": result.route.routing_strategy,
        "fallback_used": result.route.fallback_used,
        "models_attempted": list(result.route.models_attempted),
        "final_model_used": result.model,
    }


def structured_values(result: ChatResult) -> dict[str, Any]:
    """What an answer by a schema records besides; nothing of any other answer."""
    if result.structured is None:
        return {}
    return {
        "structured_data": result.structured.data,
        "schema_validation_passed": True,
        "schema_outcome": result.structured.outcome,
    }


def stopped_values(call: ModelCall, row: Mapping[str, Any], content: str, now: datetime) -> dict[str, Any]:
    """What a stopped answer records: its text, and its last call as far as that is known; the bill comes later."""
    return ending_values("stopped", content, now) | {
        "provider": row["provider"],
        "generation_id": row["generation_id"],
        "first_token_ms": row["first_token_ms"],
        "latency_ms": row["latency_ms"],
        "total_cost_usd": row["cost_usd"],
        "is_provisional": row["cost_usd"] is None,
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "cached_tokens_read": row["cached_tokens_read"],
        "cached_tokens_write": row["cached_tokens_write"],
        "cache_discount_usd": row["cache_discount_usd"],
        "cache_breakpoint_count": row["cache_breakpoint_count"],
        "cache_outcome": row["cache_outcome"],
        "cache_detail": row["cache_detail"],
        "routing_strategy": call.route.routing_strategy,
        "fallback_used": call.route.fallback_used,
        "models_attempted": list(call.route.models_attempted),
        "final_model_used": row["model"],
    }


def answer_facts(turn: Turn, values: Mapping[str, Any], now: datetime) -> AnswerFacts:
    """What charts need to know of how an answer ended; ``values`` are what its message says from now on."""
    return AnswerFacts(
        user_id=turn.user_id,
        id=turn.message_id,
        ended_at=now,
        plan=turn.lease.plan,
        model=values.get("final_model_used") or turn.planned.request.model,
        status=values["status"],
        error_code=values.get("error_code"),
        begins_conversation=turn.depth == 0 and not turn.is_asked_anew,
        is_truncated=values.get("finish_reason") == "length",
        fallback_used=bool(values.get("fallback_used")),
        schema_passed=values.get("schema_validation_passed"),
        cache_outcome=values.get("cache_outcome"),
        preset_id=turn.preset_id,
        first_token_ms=values.get("first_token_ms"),
        latency_ms=values.get("latency_ms"),
    )


def attempt_rows(
    turn: Turn, attempts: Sequence[Attempt], caching: Sequence[AttemptCaching], *, now: datetime
) -> list[dict[str, Any]]:
    """One row for each upstream call of the turn, with what caching did in it."""
    return [_attempt_row(turn, *each, now) for each in zip(attempts, caching, strict=True)]


def answered_call(row: Mapping[str, Any], account: CacheAccount) -> BilledCall:
    """The ledger's line for the call that gave the answer: one message of the person's plan."""
    call = _billed_call(row, kind="chat", messages=1)
    return call if account.is_settled else replace(call, discount_is_provisional=True)


def service_fees(result: ChatResult, answered: BilledCall) -> tuple[BilledCall, Sequence[BilledCall]]:
    """The call without what ran beside the model, and a line for that: together they are what was billed."""
    if answered.cost_usd is None:
        return answered, ()
    fees = []
    if result.pdf_ocr_cost_usd:
        answered, line = answered.with_fee(PDF_OCR, result.pdf_ocr_cost_usd)
        fees.append(line)
    if result.usage.search_cost is not None:
        answered, line = answered.with_fee(WEB_SEARCH, result.usage.search_cost, searches=result.usage.searches or 0)
        fees.append(line)
    return answered, fees


def lost_calls(rows: Sequence[Mapping[str, Any]]) -> list[BilledCall]:
    """The ledger's lines for calls that gave no answer and were billed all the same: the house pays them."""
    return [_billed_call(row, kind="lost_attempt") for row in rows if row["cost_usd"] or _may_be_billed(row)]


def _may_be_billed(row: Mapping[str, Any]) -> bool:
    return row["cost_usd"] is None and row["generation_id"] is not None


def _billed_call(row: Mapping[str, Any], *, kind: str, messages: int = 0) -> BilledCall:
    return BilledCall(
        attempt_id=row["id"],
        kind=kind,
        message_id=row["message_id"],
        model=row["model"],
        provider=row["provider"],
        generation_id=row["generation_id"],
        prompt_tokens=row["prompt_tokens"] or 0,
        completion_tokens=row["completion_tokens"] or 0,
        cached_tokens_read=row["cached_tokens_read"] or 0,
        cached_tokens_write=row["cached_tokens_write"] or 0,
        cost_usd=row["cost_usd"],
        cache_discount_usd=row["cache_discount_usd"],
        messages=messages,
    )


def _verdict_values(verdict: CacheVerdict | None) -> dict[str, Any]:
    return {
        "cache_outcome": verdict.outcome.value if verdict else None,
        "cache_detail": verdict.detail if verdict else None,
    }


def milliseconds(seconds: float | None) -> int | None:
    """Whole milliseconds, as they are stored and told."""
    return None if seconds is None else round(seconds * 1000)


def _attempt_row(turn: Turn, attempt: Attempt, caching: AttemptCaching, now: datetime) -> dict[str, Any]:
    usage = sane_usage(attempt.usage) if attempt.usage else None
    return {
        "user_id": turn.user_id,
        "id": new_id(),
        "message_id": turn.message_id,
        "ordinal": attempt.number,
        "models_asked": list(attempt.models_asked),
        "model": attempt.model,
        "provider": attempt.provider,
        "outcome": _OUTCOMES.get(attempt.error, "failed"),
        "partial_content": storable(attempt.partial_content or "")[:MOST_PARTIAL_CHARS] or None,
        "http_status": attempt.status,
        "error_code": attempt.error,
        "next_step": attempt.next_step,
        "generation_id": attempt.generation_id,
        "created_at": now,
        "first_token_ms": milliseconds(attempt.first_token_seconds),
        "latency_ms": milliseconds(attempt.latency_seconds),
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "cached_tokens_read": usage.cached_tokens if usage else None,
        "cached_tokens_write": usage.cache_write_tokens if usage else None,
        "cache_discount_usd": caching.account.discount_usd,
        "cache_breakpoint_count": len(turn.planned.cache.breakpoints),
        **_verdict_values(caching.verdict),
        "cache_prefix": encode(caching.left) if caching.left else None,
        "cost_usd": usage.cost if usage else None,
    }


MOST_PARTIAL_CHARS = 100_000
"""How much of a failed call's text is kept."""

_OUTCOMES: dict[str | None, str] = {None: "completed", "cancelled": "interrupted"}
