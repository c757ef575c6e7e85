"""Bodies of ``/chat``."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, model_validator

from app.api.schemas.cache import CacheRead
from app.api.schemas.common import FilledText, JsonSchema, MaxTokens, ModelId, RequestBody, Temperature, Text, Usd
from app.domain.attachment_limits import MAX_ATTACHMENTS
from app.domain.links import MOST_LINKS, LinkKind
from app.domain.public_urls import refuse_url
from app.domain.web_search import MOST_DOMAINS, MOST_RESULTS, MOST_SEARCHES, ContextSize, as_domain

PdfOption = Literal["auto", "native", "text", "ocr"]


class ContextDocument(RequestBody):
    """Something to answer from, sent with this question only."""

    text: Annotated[FilledText, Field(max_length=200_000)]
    title: Annotated[Text, Field(max_length=300)] = ""
    source: Annotated[Text, Field(max_length=2_000)] = ""


def _public(url: str) -> str:
    if refusal := refuse_url(url):
        raise ValueError(refusal)
    return "https://" + url[8:]  # however it was written: by this an address is told from a hash


def _different(ids: list[UUID]) -> list[UUID]:
    if len(set(ids)) < len(ids):
        raise ValueError("names a file twice")
    return ids


def _domain(text: str) -> str:
    domain = as_domain(text)
    if domain is None:
        raise ValueError("is no name of a domain, such as 'example.org'")
    return domain


Domain = Annotated[Text, Field(max_length=300), AfterValidator(_domain)]


class WebSearchBody(RequestBody):
    """How to search the web. The model decides whether it does, and how often; each search is charged."""

    max_results: Annotated[int, Field(ge=1, le=MOST_RESULTS, strict=True)] = 5
    max_searches: Annotated[int, Field(ge=1, le=MOST_SEARCHES, strict=True)] = 3
    context_size: ContextSize | None = None
    allowed_domains: list[Domain] = Field(default_factory=list, max_length=MOST_DOMAINS)
    excluded_domains: list[Domain] = Field(default_factory=list, max_length=MOST_DOMAINS)

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if self.allowed_domains and self.excluded_domains:
            raise ValueError("give allowed_domains or excluded_domains, not both")
        return self


class AnswerOptions(RequestBody):
    """How to answer. What is left out comes from the preset, else from the server's settings."""

    enable_caching: Annotated[bool, Field(strict=True)] = True
    stream: Annotated[bool, Field(strict=True)] = False
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    model: ModelId | None = None
    preset_id: UUID | None = None
    fallback_models: Annotated[list[ModelId], Field(max_length=10)] | None = None
    context: list[ContextDocument] = Field(default_factory=list, max_length=20)
    web_search: Annotated[bool, Field(strict=True)] | WebSearchBody | None = None
    pdf_engine: PdfOption = "auto"


class AttachmentUrl(RequestBody):
    """A file that lies elsewhere: handed on to the model's host, never fetched by this server."""

    kind: LinkKind
    url: Annotated[Text, AfterValidator(_public)]


class EditBody(AnswerOptions):
    """A question in other words. Without ``attachment_ids`` or ``attachment_urls`` it keeps those it had before."""

    message: FilledText
    attachment_ids: Annotated[list[UUID], Field(max_length=MAX_ATTACHMENTS), AfterValidator(_different)] | None = None
    attachment_urls: Annotated[list[AttachmentUrl], Field(max_length=MOST_LINKS)] | None = None


class ChatBody(EditBody):
    """A question in a conversation: behind the answer ``parent_id``, else at the end of the active branch."""

    conversation_id: UUID
    parent_id: UUID | None = None


class StructuredBody(ChatBody):
    """A question whose answer has to fit a JSON Schema (2020-12)."""

    response_schema: JsonSchema


class UsageRead(BaseModel):
    """Tokens of the turn, as billed. Totals: cached, written and reasoning tokens are parts of them."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None


class CitationRead(BaseModel):
    """A source the model named."""

    url: str
    title: str | None
    start_index: int | None
    end_index: int | None


class ChatRead(BaseModel):
    """A whole answer. ``model`` is the one that served; unknown numbers are null, never 0."""

    message_id: UUID
    user_message_id: UUID
    conversation_id: UUID
    content: str
    model: str
    provider: str | None
    usage: UsageRead
    cached_tokens_read: int | None
    cached_tokens_write: int | None
    cache_discount_usd: Usd | None
    cache: CacheRead | None
    total_cost_usd: Usd | None
    pdf_ocr_cost_usd: Usd | None
    web_search_requests: int | None
    web_search_cost_usd: Usd | None
    audio_tokens: int | None
    reasoning_tokens: int | None
    finish_reason: str | None
    routing_strategy: str
    fallback_used: bool
    models_attempted: list[str]
    notes: list[str]
    citations: list[CitationRead]
    first_token_ms: int | None
    latency_ms: int | None
    created_at: datetime


class StructuredRead(ChatRead):
    """A whole answer whose data fits the schema; ``outcome`` is how it came to."""

    structured_data: Any
    schema_validation_passed: bool
    outcome: Literal["valid", "healed", "repaired"] | None


class StoppedRead(BaseModel):
    """How the answer ended. ``ending`` is the last event of its stream: an answer, whole or as far as it came, or why
    there is none."""

    message_id: UUID
    status: Literal["completed", "stopped", "failed", "interrupted"]
    ending: dict[str, Any]
