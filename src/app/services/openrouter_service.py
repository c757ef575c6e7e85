"""Asks OpenRouter with the product's settings: models, routing, caching, user tracking; tells errors in our words."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, Unpack
from uuid import UUID

import structlog

from app.core.clock import Clock, utc_now
from app.core.config import RoutingStrategy, Settings, get_settings
from app.core.errors import AppError, InvalidField, ServiceUnavailable
from app.core.security import pseudonym
from app.openrouter.catalog import Catalog, ResolvedModel, shipped_catalog
from app.openrouter.client import OpenRouterClient
from app.openrouter.errors import ContextLengthExceeded, Moderated, OpenRouterError
from app.openrouter.pricing import cache_discount
from app.openrouter.prompt_cache import CacheStrategy, plan_cache
from app.openrouter.timeouts import Timeouts
from app.openrouter.types import (
    ChatRequest,
    Completion,
    CompletionFinished,
    ProviderPreferences,
    StreamEvent,
    Usage,
)

log = structlog.get_logger(__name__)

ROUTING_DISABLED = "disabled"


class NotConfigured(ServiceUnavailable):
    """There is no key to call OpenRouter with."""

    code = "openrouter_not_configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One upstream call: what was asked, who answered, how it went. ``usage`` is ``None`` where nothing was billed."""

    model: str
    served_model: str | None
    provider: str | None
    outcome: str
    started_at: datetime
    http_status: int | None = None
    error_code: str | None = None
    generation_id: str | None = None
    first_token_ms: int | None = None
    latency_ms: int | None = None
    usage: Usage | None = None
    cache_discount_usd: Decimal | None = None

    def summary(self) -> dict[str, Any]:
        """What a person is told of it."""
        return {"model": self.model, "provider": self.provider, "error": self.error_code, "status": self.http_status}


class ModelCallFailed(AppError):
    """No whole answer came. ``attempts`` are the calls that were made; ``reason`` in the body is the wire's word."""

    status_code = 502
    code = "upstream_failed"

    def __init__(self, detail: str, *, reason: str, attempts: tuple[Attempt, ...], retry_after: float | None) -> None:
        headers = {"Retry-After": str(max(1, round(retry_after)))} if retry_after else None
        super().__init__(detail, headers=headers, reason=reason, attempts=[each.summary() for each in attempts])
        self.attempts = attempts


class ContextTooLong(ModelCallFailed):
    """The conversation and the answer do not fit into the model's context."""

    status_code = 400
    code = "context_too_long"


class ContentModerated(ModelCallFailed):
    """The provider refused the content."""

    status_code = 400
    code = "content_moderated"


class CompletionOptions(TypedDict, total=False):
    """What may be asked for beside the messages; absent or ``None`` means the setting's default."""

    model: str | None
    fallback_models: Sequence[str] | None
    user_id: UUID | None
    conversation_id: UUID | None
    enable_caching: bool
    temperature: float | None
    top_p: float | None
    max_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCompletion:
    """A request ready to be sent, and what was decided on the way there."""

    request: ChatRequest
    routing_strategy: str
    cache_breakpoints: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """A whole answer. ``model`` served it; ``models_attempted`` are those asked, in order, it being the last."""

    content: str
    model: str
    provider: str | None
    usage: Usage
    cached_tokens_read: int | None
    cached_tokens_write: int | None
    cache_discount_usd: Decimal | None
    total_cost_usd: Decimal | None
    finish_reason: str | None
    routing_strategy: str
    fallback_used: bool
    models_attempted: tuple[str, ...]
    cache_breakpoint_count: int
    attempts: tuple[Attempt, ...]
    completion: Completion = field(repr=False)


class OpenRouterService:
    """The product's one way to OpenRouter. Opens its connections on the first await; ``aclose`` closes them."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        catalog: Callable[[], Catalog] = shipped_catalog,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._clock = clock
        self._client: OpenRouterClient | None = None

    async def chat_completion(
        self, *, messages: Sequence[Mapping[str, Any]], **options: Unpack[CompletionOptions]
    ) -> ChatResult:
        """Ask once and wait for the whole answer.

        ``messages`` are in OpenRouter's shape; options left out come from the settings. Raises ``InvalidField`` for an
        unknown model and :class:`ModelCallFailed` when no model answered.
        """
        return await self.complete(self.plan(messages=messages, **options))

    def plan(self, *, messages: Sequence[Mapping[str, Any]], **options: Unpack[CompletionOptions]) -> PlannedCompletion:
        """Decide everything about a request without sending it; refuses what cannot be sent."""
        settings = self._settings()
        self._require_key()
        chosen = self._resolve_model(options.get("model"))
        cache = plan_cache(
            messages,
            chosen.profile if chosen else None,
            strategy=self._cache_strategy(options.get("enable_caching", True)),
            min_tokens=settings.cache_min_tokens,
        )
        temperature = options.get("temperature")
        conversation_id = options.get("conversation_id")
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        request = ChatRequest(
            messages=cache.messages,
            model=chosen.id if chosen else settings.llm_model,
            fallback_models=self._resolve_fallbacks(options.get("fallback_models")),
            temperature=settings.llm_temperature if temperature is None else temperature,
            top_p=options.get("top_p"),
            max_tokens=self._clamp(options.get("max_tokens") or settings.llm_max_tokens, chosen),
            provider=self._provider_preferences(),
            session_id=str(conversation_id) if conversation_id else None,
            user=self._user_name(options.get("user_id")),
            metadata={"request_id": request_id} if request_id else None,
            cache_control=cache.cache_control,
        )
        return PlannedCompletion(
            request=request,
            routing_strategy=settings.routing_strategy.value if settings.model_routing_enabled else ROUTING_DISABLED,
            cache_breakpoints=cache.breakpoints,
            notes=(chosen.note,) if chosen and chosen.note else (),
        )

    async def complete(self, planned: PlannedCompletion) -> ChatResult:
        """Send a planned request and wait for the whole answer; raises what went wrong in our words."""
        started_at = self._clock()
        try:
            completion = await self._open_client().complete(planned.request, request_id=_request_id(planned))
        except OpenRouterError as error:
            raise self._translate(error, planned, started_at) from error
        return self._result(planned, completion, started_at)

    async def stream(self, planned: PlannedCompletion) -> AsyncGenerator[StreamEvent | ChatResult]:
        """Send a planned request; the answer's pieces as they come, then its :class:`ChatResult`.

        Wrap it in ``contextlib.aclosing``: leaving it closes the call upstream at once.
        """
        started_at = self._clock()
        try:
            async with aclosing(self._open_client().stream(planned.request, request_id=_request_id(planned))) as events:
                async for event in events:
                    if isinstance(event, CompletionFinished):
                        yield self._result(planned, event.completion, started_at)
                    else:
                        yield event
        except OpenRouterError as error:
            raise self._translate(error, planned, started_at) from error

    def require_model(self, model: str, *, name: str = "model") -> str:
        """The id to send for a model somebody names; raises ``InvalidField`` naming the field ``name``."""
        resolved = self._catalog().resolve(model)
        if resolved is None:
            raise InvalidField(name, f"{model!r} is not a model this service knows.")
        return resolved.id

    async def aclose(self) -> None:
        """Close the pooled connections; a later call opens them anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _require_key(self) -> str:
        key = self._settings().openrouter_api_key
        if key is None:
            raise NotConfigured("No OPENROUTER_API_KEY is set. Set one, or use `make run`, which brings an emulator.")
        return key.get_secret_value()

    def _open_client(self) -> OpenRouterClient:
        if self._client is None:
            settings = self._settings()
            self._client = OpenRouterClient(
                base_url=str(settings.openrouter_base_url),
                api_key=self._require_key(),
                app_name=settings.openrouter_app_name,
                app_url=settings.openrouter_app_url,
                timeouts=Timeouts(
                    connect=settings.openrouter_connect_timeout_seconds,
                    first_token=settings.openrouter_first_token_timeout_seconds,
                    silence=settings.openrouter_silence_timeout_seconds,
                    total=settings.openrouter_total_timeout_seconds,
                ),
            )
        return self._client

    def _resolve_model(self, model: str | None) -> ResolvedModel | None:
        """``None`` for a configured default that the catalogue does not know: the operator may know better."""
        if model is not None:
            self.require_model(model)
        return self._catalog().resolve(model or self._settings().llm_model)

    def _resolve_fallbacks(self, fallback_models: Sequence[str] | None) -> tuple[str, ...]:
        settings = self._settings()
        if not settings.model_routing_enabled:
            return ()
        if fallback_models is not None:
            return tuple(self.require_model(each, name="fallback_models") for each in fallback_models)
        resolved = ((each, self._catalog().resolve(each)) for each in settings.default_fallback_models)
        return tuple(found.id if found else name for name, found in resolved)

    def _cache_strategy(self, enable_caching: bool) -> CacheStrategy:
        settings = self._settings()
        is_on = enable_caching and settings.prompt_caching_enabled
        return settings.cache_control_strategy.value if is_on else "off"

    def _user_name(self, user_id: UUID | None) -> str | None:
        settings = self._settings()
        if user_id is None or not settings.track_user_ids:
            return None
        return pseudonym(settings.require_jwt_secret(), user_id)

    def _provider_preferences(self) -> ProviderPreferences | None:
        settings = self._settings()
        sorted_by = {RoutingStrategy.PRICE, RoutingStrategy.THROUGHPUT, RoutingStrategy.LATENCY}
        if not settings.model_routing_enabled or settings.routing_strategy not in sorted_by:
            return None
        return ProviderPreferences(sort=settings.routing_strategy.value)

    def _clamp(self, max_tokens: int, chosen: ResolvedModel | None) -> int:
        limit = chosen.profile.max_output_tokens if chosen else None
        return min(max_tokens, limit) if limit else max_tokens

    def _result(self, planned: PlannedCompletion, completion: Completion, started_at: datetime) -> ChatResult:
        asked = planned.request.models
        served = completion.model or asked[0]
        attempted = self._attempted(asked, served)
        usage = completion.usage or Usage()
        profile = self._catalog().get(served)
        discount = cache_discount(profile.prices, usage) if profile else None
        attempt = Attempt(
            model=asked[0],
            served_model=served,
            provider=completion.provider,
            outcome="completed",
            started_at=started_at,
            http_status=200,
            generation_id=completion.generation_id,
            first_token_ms=_milliseconds(completion.first_token_seconds),
            latency_ms=_milliseconds(completion.total_seconds),
            usage=usage,
            cache_discount_usd=discount,
        )
        return ChatResult(
            content=completion.content,
            model=served,
            provider=completion.provider,
            usage=usage,
            cached_tokens_read=usage.cached_tokens,
            cached_tokens_write=usage.cache_write_tokens,
            cache_discount_usd=discount,
            total_cost_usd=usage.cost,
            finish_reason=completion.finish_reason,
            routing_strategy=planned.routing_strategy,
            fallback_used=len(attempted) > 1,
            models_attempted=attempted,
            cache_breakpoint_count=planned.cache_breakpoints,
            attempts=(attempt,),
            completion=completion,
        )

    def _attempted(self, asked: Sequence[str], served: str) -> tuple[str, ...]:
        """OpenRouter goes through ``models`` in order: those before the one that served have failed."""
        for position, model in enumerate(asked):
            if self._catalog().same_model(model, served):
                return tuple(asked[: position + 1])
        return (*asked, served)

    def _translate(self, error: OpenRouterError, planned: PlannedCompletion, started_at: datetime) -> ModelCallFailed:
        attempt = Attempt(
            model=error.model or planned.request.model,
            served_model=error.partial.model if error.partial else None,
            provider=error.provider,
            outcome="failed",
            started_at=started_at,
            http_status=error.status,
            error_code=error.code,
            generation_id=error.generation_id,
            latency_ms=_milliseconds((self._clock() - started_at).total_seconds()),
            usage=error.partial.usage if error.partial else None,
        )
        log.warning("openrouter.failed", error_code=error.code, status=error.status, provider=error.provider)
        return _told_as_ours(error, (attempt,))


def _told_as_ours(error: OpenRouterError, attempts: tuple[Attempt, ...]) -> ModelCallFailed:
    kind, detail = ModelCallFailed, "No model could answer. Nothing was charged; try again."
    if isinstance(error, ContextLengthExceeded):
        kind, detail = ContextTooLong, "The conversation is too long for this model. Begin a new one."
    elif isinstance(error, Moderated):
        kind, detail = ContentModerated, "The model's provider refused this content. Put it in other words."
    return kind(detail, reason=error.code, attempts=attempts, retry_after=error.retry_after)


def _request_id(planned: PlannedCompletion) -> str | None:
    return (planned.request.metadata or {}).get("request_id")


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


openrouter_service = OpenRouterService(settings=get_settings)
