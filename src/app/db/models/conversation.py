"""Conversations and what was said in them."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonValue

_PENDING = text("status = 'pending'")
"""To a question at most one answer is being written at a time."""


class Conversation(Base):
    """A tree of messages in one mode; ``active_message_id`` is the last message of the branch that is shown."""

    __tablename__ = "conversations"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(200))
    mode: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    active_message_id: Mapped[UUID | None]
    preset_id: Mapped[UUID | None]
    """What it is answered with where a question names nothing else, in the version it began with."""
    preset_version: Mapped[int | None]
    preset_values: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)

    __table_args__ = (Index(None, "user_id", "updated_at", "id"),)


class Message(Base):
    """One message. ``parent_id`` is what it follows: an answer its question, a question the answer before it.

    Messages with the same parent are siblings: a question in other words, another answer. An assistant message carries
    the accounting of its turn. A ``summary`` is no link of the chain: it hangs on the last answer it stands for, whose
    ``summary_id`` names it. ``depth`` and ``tokens_before`` are the messages, and the tokens in a prompt, before this
    one on its branch; they never change.

    ``prompt_tokens`` and ``completion_tokens`` are totals; cached, written, reasoning and audio tokens are parts of
    them. Unknown is NULL, never 0; ``is_provisional`` while the bill is still being asked for.
    """

    __tablename__ = "messages"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID]
    parent_id: Mapped[UUID | None]
    role: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    content: Mapped[str] = mapped_column(Text)
    reasoning: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(60))
    finish_reason: Mapped[str | None] = mapped_column(String(40))
    depth: Mapped[int] = mapped_column(server_default="0")
    tokens_before: Mapped[int] = mapped_column(server_default="0")
    summary_id: Mapped[UUID | None]
    attachment_urls: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue, server_default="[]")
    """Files beside a question that lie elsewhere: kind and address of each."""
    attachment_count: Mapped[int] = mapped_column(server_default="0")
    """How many files stand beside a question: without any, nobody has to look for them."""
    notes: Mapped[list[str]] = mapped_column(JsonValue, server_default="[]")

    model: Mapped[str | None] = mapped_column(String(200))
    provider: Mapped[str | None] = mapped_column(String(100))
    preset_id: Mapped[UUID | None]
    preset_version: Mapped[int | None]
    event_count: Mapped[int | None]
    """How many events its stream had: whoever has read as many has read it all."""
    generation_id: Mapped[str | None] = mapped_column(String(200))
    first_token_ms: Mapped[int | None]
    latency_ms: Mapped[int | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    total_tokens: Mapped[int | None]
    total_cost_usd: Mapped[Decimal | None]
    is_provisional: Mapped[bool] = mapped_column(default=False)
    pdf_ocr_cost_usd: Mapped[Decimal | None]
    """What recognising the pages of documents cost: a part of ``total_cost_usd``."""
    web_search_requests: Mapped[int | None]
    web_search_cost_usd: Mapped[Decimal | None]
    """Another part of it."""

    cached_tokens_read: Mapped[int | None]
    cached_tokens_write: Mapped[int | None]
    cache_discount_usd: Mapped[Decimal | None]
    cache_breakpoint_count: Mapped[int | None]
    cache_outcome: Mapped[str | None] = mapped_column(String(20))
    cache_detail: Mapped[str | None] = mapped_column(String(100))
    reasoning_tokens: Mapped[int | None]
    audio_tokens: Mapped[int | None]
    upstream_inference_cost_usd: Mapped[Decimal | None]
    routing_strategy: Mapped[str | None] = mapped_column(String(40))
    fallback_used: Mapped[bool | None]
    models_attempted: Mapped[list[str] | None] = mapped_column(JsonValue)
    final_model_used: Mapped[str | None] = mapped_column(String(200))
    citations: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonValue)
    response_schema: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    structured_data: Mapped[Any | None] = mapped_column(JsonValue)
    schema_validation_passed: Mapped[bool | None]
    schema_outcome: Mapped[str | None] = mapped_column(String(20))
    """How the data came to fit: `valid`, `healed` or `repaired`."""

    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "conversation_id"], ["conversations.user_id", "conversations.id"], ondelete="CASCADE"
        ),
        Index(None, "user_id", "conversation_id", "id"),
        Index(None, "user_id", "parent_id", unique=True, postgresql_where=_PENDING, sqlite_where=_PENDING),
        CheckConstraint("role IN ('user', 'assistant', 'summary')", name="role"),
        CheckConstraint("status IN ('pending', 'completed', 'failed', 'stopped', 'interrupted')", name="status"),
        CheckConstraint(
            "coalesce(cached_tokens_read, 0) + coalesce(cached_tokens_write, 0) <= prompt_tokens",
            name="cached_within_prompt",
        ),
        CheckConstraint("total_cost_usd >= 0", name="cost_not_negative"),
    )


class MessageAttempt(Base):
    """One upstream call behind an assistant message: what was asked, who answered, what it cost.

    ``cache_prefix`` holds hashes of the prompt's blocks (``app/openrouter/cache_prints.py``), at most a kilobyte: the
    next turn tells by them why it found nothing in the cache.
    """

    __tablename__ = "message_attempts"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID]
    ordinal: Mapped[int]
    models_asked: Mapped[list[str]] = mapped_column(JsonValue)
    model: Mapped[str] = mapped_column(String(200))
    provider: Mapped[str | None] = mapped_column(String(100))
    outcome: Mapped[str] = mapped_column(String(20))
    http_status: Mapped[int | None]
    error_code: Mapped[str | None] = mapped_column(String(60))
    next_step: Mapped[str | None] = mapped_column(String(40))
    partial_content: Mapped[str | None] = mapped_column(Text)
    """The text a failed call gave before it failed."""
    generation_id: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    first_token_ms: Mapped[int | None]
    latency_ms: Mapped[int | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cached_tokens_read: Mapped[int | None]
    cached_tokens_write: Mapped[int | None]
    cache_discount_usd: Mapped[Decimal | None]
    cache_breakpoint_count: Mapped[int | None]
    cache_outcome: Mapped[str | None] = mapped_column(String(20))
    cache_detail: Mapped[str | None] = mapped_column(String(100))
    cache_prefix: Mapped[bytes | None] = mapped_column(LargeBinary)
    cost_usd: Mapped[Decimal | None]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "message_id"], ["messages.user_id", "messages.id"], ondelete="CASCADE"),
        Index(None, "user_id", "message_id", "ordinal", unique=True),
        CheckConstraint("outcome IN ('completed', 'failed', 'stopped', 'interrupted')", name="outcome"),
        CheckConstraint("cost_usd >= 0", name="cost_not_negative"),
    )
