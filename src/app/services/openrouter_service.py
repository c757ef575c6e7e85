"""Asks OpenRouter with the product's settings: models, routing, caching, user tracking; tells errors in our words."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypedDict, Unpack
from uuid import UUID

import structlog

from app.core.config import Settings, get_settings
from app.core.errors import AppError, InvalidField, ServiceUnavailable
from app.core.security import pseudonym
from app.openrouter.attempts import Attempt, RouteSummary, summarize
from app.openrouter.breaker import CircuitBreaker
from app.openrouter.catalog import Catalog, shipped_catalog
from app.openrouter.client import OpenRouterClient
from app.openrouter.errors import ContextLengthExceeded, Moderated, OpenRouterError
from app.openrouter.pricing import cache_discount
from app.openrouter.prompt_cache import CacheStrategy, plan_cache
from app.openrouter.route_run import RouteEvent, RouteRun
from app.openrouter.routing import RoutePlan, RoutePolicy, plan_route
from app.openrouter.timeouts import Timeouts
from app.openrouter.types import ChatRequest, Completion, CompletionFinished, Usage

log = structlog.get_logger(__name__)


class NotConfigured(ServiceUnavailable):
    """The operator has not set what a call to OpenRouter needs."""

    code = "openrouter_not_configured"


class ModelCallFailed(AppError):
    """No whole answer came. ``attempts`` are the calls that were made; ``reason`` in the body is the wire's word."""

    status_code = 502
    code = "upstream_failed"

    def __init__(self, detail: str, *, reason: str, attempts: Sequence[Attempt], retry_after: float | None) -> None:
        headers = {"Retry-After": str(max(1, round(retry_after)))} if retry_after else None
        super().__init__(detail, headers=headers, reason=reason, attempts=[tell_attempt(each) for each in attempts])
        self.attempts = tuple(attempts)


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
    """A turn ready to be sent: the request, the models it may go to, and what was decided on the way there."""

    request: ChatRequest
    route: RoutePlan
    cache_breakpoints: int
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """A whole answer. ``model`` served it; unknown numbers are ``None``, never 0."""

    content: str
    model: str
    provider: str | None
    usage: Usage
    cache_discount_usd: Decimal | None
    finish_reason: str | None
    route: RouteSummary
    notes: tuple[str, ...]
    cache_breakpoint_count: int
    attempts: tuple[Attempt, ...]
    completion: Completion = field(repr=False)

    @property
    def total_cost_usd(self) -> Decimal | None:
        """What OpenRouter billed for the answer."""
        return self.usage.cost


class OpenRouterService:
    """The product's one way to OpenRouter. Opens its connections on the first await; ``aclose`` closes them."""

    def __init__(self, *, settings: Callable[[], Settings], catalog: Callable[[], Catalog] = shipped_catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._breaker = CircuitBreaker()
        self._client: OpenRouterClient | None = None

    async def chat_completion(
        self, *, messages: Sequence[Mapping[str, Any]], **options: Unpack[CompletionOptions]
    ) -> ChatResult:
        """Ask and wait for the whole answer, with retries and fallbacks.

        ``messages`` are in OpenRouter's shape; options left out come from the settings. Raises ``InvalidField`` for an
        unknown model and :class:`ModelCallFailed` when no model answered.
        """
        return await self.call(self.plan(messages=messages, **options)).complete()

    def plan(self, *, messages: Sequence[Mapping[str, Any]], **options: Unpack[CompletionOptions]) -> PlannedCompletion:
        """Decide everything about a turn without sending it; refuses what cannot be sent."""
        settings = self._settings()
        self._require_key()
        route = self._plan_route(options.get("model"), options.get("fallback_models"))
        model = self._catalog().get(route.requested)
        cache = plan_cache(
            messages,
            model,
            strategy=self._cache_strategy(options.get("enable_caching", True)),
            min_tokens=settings.cache_min_tokens,
        )
        temperature = options.get("temperature")
        conversation_id = options.get("conversation_id")
        max_tokens = options.get("max_tokens") or settings.llm_max_tokens
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        request = ChatRequest(
            messages=cache.messages,
            model=route.requested,
            temperature=settings.llm_temperature if temperature is None else temperature,
            top_p=options.get("top_p"),
            max_tokens=min(max_tokens, model.max_output_tokens or max_tokens) if model else max_tokens,
            session_id=str(conversation_id) if conversation_id else None,
            user=self._user_name(options.get("user_id")),
            metadata={"request_id": request_id} if request_id else None,
            cache_control=cache.cache_control,
        )
        return PlannedCompletion(
            request=request, route=route, cache_breakpoints=cache.breakpoints, request_id=request_id
        )

    def call(self, planned: PlannedCompletion) -> "ModelCall":
        """A planned turn about to be sent; nothing is sent before it is awaited."""
        run = RouteRun(
            self._open_client(),
            planned.route,
            planned.request,
            breaker=self._breaker,
            request_id=planned.request_id,
        )
        return ModelCall(run, planned, self._catalog())

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

    def _plan_route(self, model: str | None, fallback_models: Sequence[str] | None) -> RoutePlan:
        if model is not None:
            self.require_model(model)
        for each in fallback_models or ():
            self.require_model(each, name="fallback_models")
        settings = self._settings()
        # An empty list of one's own means: no fallbacks.
        defaults = settings.default_fallback_models if fallback_models is None else ()
        policy = RoutePolicy(
            default_model=settings.llm_model,
            strategy=settings.routing_strategy.value,
            routing_enabled=settings.model_routing_enabled,
            default_fallback_models=defaults,
            auto_router_enabled=settings.enable_auto_router,
        )
        return plan_route(model, policy=policy, catalog=self._catalog(), fallback_models=tuple(fallback_models or ()))

    def _cache_strategy(self, enable_caching: bool) -> CacheStrategy:
        settings = self._settings()
        is_on = enable_caching and settings.prompt_caching_enabled
        return settings.cache_control_strategy.value if is_on else "off"

    def _user_name(self, user_id: UUID | None) -> str | None:
        settings = self._settings()
        if user_id is None or not settings.track_user_ids:
            return None
        return pseudonym(settings.require_jwt_secret(), user_id)

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


class ModelCall:
    """One turn on its way: await :meth:`complete` or read :meth:`stream`, once. Errors come in the product's words."""

    def __init__(self, run: RouteRun, planned: PlannedCompletion, catalog: Catalog) -> None:
        self._run = run
        self._planned = planned
        self._catalog = catalog

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every call made so far, also after an error or a cancellation."""
        return tuple(self._run.attempts)

    async def complete(self) -> ChatResult:
        """The whole answer at once; raises :class:`ModelCallFailed`."""
        try:
            return self._result(await self._run.complete())
        except OpenRouterError as error:
            raise self._told_as_ours(error) from error

    async def stream(self) -> AsyncGenerator[RouteEvent | ChatResult]:
        """The answer's pieces as they come, last its :class:`ChatResult`; raises :class:`ModelCallFailed`.

        Wrap it in ``contextlib.aclosing``: leaving it closes the call upstream at once.
        """
        try:
            async with aclosing(self._run.stream()) as events:
                async for event in events:
                    yield self._result(event.completion) if isinstance(event, CompletionFinished) else event
        except OpenRouterError as error:
            raise self._told_as_ours(error) from error

    def _result(self, completion: Completion) -> ChatResult:
        route = self._planned.route
        summary = summarize(self.attempts, requested=route.requested, strategy=route.strategy, catalog=self._catalog)
        usage = completion.usage or Usage()
        model = completion.model or route.requested
        profile = self._catalog.get(model)
        return ChatResult(
            content=completion.content,
            model=model,
            provider=completion.provider,
            usage=usage,
            cache_discount_usd=cache_discount(profile.prices, usage) if profile else None,
            finish_reason=completion.finish_reason,
            route=summary,
            notes=route.notes,
            cache_breakpoint_count=self._planned.cache_breakpoints,
            attempts=self.attempts,
            completion=completion,
        )

    def _told_as_ours(self, error: OpenRouterError) -> ModelCallFailed:
        log.warning("openrouter.failed", error_code=error.code, status=error.status, provider=error.provider)
        kind, detail = ModelCallFailed, "No model could answer. Nothing was charged; try again."
        if isinstance(error, ContextLengthExceeded):
            kind, detail = ContextTooLong, "The conversation is too long for this model. Begin a new one."
        elif isinstance(error, Moderated):
            kind, detail = ContentModerated, "The model's provider refused this content. Put it in other words."
        return kind(detail, reason=error.code, attempts=self.attempts, retry_after=error.retry_after)


def tell_attempt(attempt: Attempt) -> dict[str, Any]:
    """What a person is told of a failed call: never the provider's own words, which may quote the prompt."""
    return {
        "model": attempt.model,
        "provider": attempt.provider,
        "error": attempt.error,
        "status": attempt.status,
    }


openrouter_service = OpenRouterService(settings=get_settings)
