"""Asks OpenRouter with the product's settings: models, routing, caching, user tracking; tells errors in our words."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, TypedDict, Unpack
from uuid import UUID

import structlog

from app.core.clock import Clock, utc_now
from app.core.config import Settings, StreamRecovery, get_settings
from app.core.errors import InvalidField, ServiceUnavailable
from app.core.security import pseudonym
from app.domain.quotas import TokenPrices
from app.domain.web_search import WebSearchOptions, in_order
from app.openrouter.account import Credits, KeyInfo
from app.openrouter.answer_schema import AnswerSchema
from app.openrouter.attempts import AttemptBudget
from app.openrouter.breaker import CircuitBreaker
from app.openrouter.cache_prints import CachedCall
from app.openrouter.cache_sightings import Sighting
from app.openrouter.cache_warmth import STICKY_SECONDS, warm_host
from app.openrouter.catalog import Catalog
from app.openrouter.client import OpenRouterClient
from app.openrouter.drawing_run import DrawingRun
from app.openrouter.errors import ModelNotFound, OpenRouterError
from app.openrouter.generations import GenerationRecord
from app.openrouter.images import ImageRequest
from app.openrouter.live_catalog import LiveCatalog
from app.openrouter.media import kinds_in, media_in
from app.openrouter.models import ModelProfile
from app.openrouter.parsed_files import EngineChoice, Reading, file_parser
from app.openrouter.pricing import Prices
from app.openrouter.prompt_cache import (
    CachePlan,
    CachePlanner,
    CachePolicy,
    CacheStrategy,
    CacheTicket,
    CacheUsage,
    Kind,
)
from app.openrouter.retries import RetryPolicy
from app.openrouter.route_run import LoadMedia, RouteRun
from app.openrouter.routing import Needs, RoutePlan, RoutePolicy, plan_route
from app.openrouter.schema_walk import SchemaProblem
from app.openrouter.structured_output import read_answer
from app.openrouter.timeouts import Timeouts
from app.openrouter.types import ChatRequest, ProviderPreferences, Usage
from app.openrouter.web_search import WebSearch
from app.services.message_media import needs_of, notes_on_reading
from app.services.model_call import Caching, ChatResult, ModelCall, PlannedCompletion

CATALOG_CHECK_SECONDS = 60.0


def _not_sent(name: str) -> str:
    return f"`{name}` was not sent: not every model asked takes it."


class NotConfigured(ServiceUnavailable):
    """The operator has not set what a call to OpenRouter needs."""

    code = "openrouter_not_configured"


class CachingOptions(TypedDict, total=False):
    """What caching needs to know of a turn: ``cached_calls`` are the conversation's calls that left something in a
    cache, newest first.
    """

    enable_caching: bool
    cached_calls: Sequence[CachedCall]


class CompletionOptions(CachingOptions, total=False):
    """What may be asked for beside the messages; absent or ``None`` means the setting's default."""

    model: str | None
    fallback_models: Sequence[str] | None
    user_id: UUID | None
    conversation_id: UUID | None
    temperature: float | None
    top_p: float | None
    reasoning: Mapping[str, Any] | None
    """How much to think, as OpenRouter has it: sent where every model of the route knows of it."""
    max_tokens: int | None
    kinds: Sequence[Sequence[Kind]] | None
    """What each part of each message is, for the cache planner; guessed from roles where left out."""
    schema: AnswerSchema | None
    """What the answer has to fit: only models that can are asked."""
    engine: EngineChoice | None
    """How documents among the messages are read; left out, by whoever can for nothing."""
    web_search: WebSearchOptions | None
    """What may be looked up: only models that can use tools are asked."""


class OpenRouterService:
    """The product's one way to OpenRouter. Opens its connections on the first await; ``aclose`` closes them."""

    def __init__(
        self, *, settings: Callable[[], Settings], retries: RetryPolicy | None = None, clock: Clock = utc_now
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._cache_planner = CachePlanner()
        self.when_learned: Callable[[CacheTicket, CacheUsage], None] | None = None
        """Told of every answered prompt that the cache planner learned from."""
        self._retries = retries or RetryPolicy()
        self._live_catalog = LiveCatalog(self._fetch_models)
        self._breaker = CircuitBreaker()
        self._client: OpenRouterClient | None = None

    @property
    def catalog(self) -> Catalog:
        """The models as last heard of, without asking: OpenRouter's list over the one this version was made with."""
        return self._live_catalog.catalog

    @property
    def listed_models(self) -> frozenset[str] | None:
        """The ids OpenRouter itself listed last; ``None`` as long as it could not be asked."""
        return self._live_catalog.listed

    def breaker_states(self) -> dict[str, str]:
        """The models this process leaves alone now: `open`, or `hosts_open` where it is only some of their hosts."""
        now = asyncio.get_running_loop().time()
        models = {model for model, _ in self._breaker.circuits()}
        states = {}
        for model in models:
            if not self._breaker.admits(model, now):
                states[model] = "open"
            elif self._breaker.failing_providers(model, now):
                states[model] = "hosts_open"
        return states

    @property
    def catalog_error(self) -> OpenRouterError | None:
        """Why OpenRouter's list could not be had when it was asked for last."""
        return self._live_catalog.last_error

    async def refresh_catalog(self) -> Catalog:
        """Ask OpenRouter for its models if the copy at hand is old; a failure leaves the copy as it is."""
        return await self._live_catalog.current()

    async def keep_catalog_fresh(self) -> None:
        """Refresh the catalogue for ever; the app's lifespan runs and ends this."""
        while True:
            if self._settings().openrouter_api_key is not None:
                await self.refresh_catalog()
            await asyncio.sleep(CATALOG_CHECK_SECONDS)

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
        schema = options.get("schema")
        kinds = kinds_in(messages)
        reading = self._reading(messages, options) if "pdf" in kinds else None
        native = reading is not None and reading.engine == "native"
        search = self._search(options.get("web_search"))
        tools = (search.wire(),) if search else None
        needs = replace(needs_of(kinds, native=native), schema=schema is not None, web_search=search is not None)
        route = self._plan_route(options.get("model"), options.get("fallback_models"), needs)
        model = self.catalog.get(route.requested)
        cache = self._plan_cache(route, messages, options, tools=tools)
        route = self._kept_warm(route, cache, options)
        sampling, unsent = self._sampling(route, options)
        reasoning = options.get("reasoning")
        if reasoning is not None and not self._all_know(route, "reasoning"):
            reasoning, unsent = None, (*unsent, _not_sent("reasoning"))
        conversation_id = options.get("conversation_id")
        max_tokens = options.get("max_tokens") or settings.llm_max_tokens
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        request = ChatRequest(
            messages=cache.messages,
            model=route.requested,
            temperature=sampling.get("temperature"),
            top_p=sampling.get("top_p"),
            reasoning=reasoning,
            max_tokens=min(max_tokens, model.max_output_tokens or max_tokens) if model else max_tokens,
            tools=cache.tools,
            session_id=str(conversation_id) if conversation_id else None,
            user=self.name_of(options.get("user_id")),
            metadata={"request_id": request_id} if request_id else None,
            prompt_cache_options=cache.prompt_cache_options,
            response_format=schema.wire() if schema else None,
            plugins=(file_parser(reading.engine),) if reading else None,
            wants_metadata=reading is not None and reading.is_recognition,
        )
        planned = PlannedCompletion(
            request=request,
            route=route,
            cache=cache.ticket,
            caching=self._caching(options),
            request_id=request_id,
            schema=schema,
            reading=reading,
            search=search,
        )
        return planned.noting(*(notes_on_reading(reading) if reading else ()), *unsent)

    def _reading(self, messages: Sequence[Mapping[str, Any]], options: CompletionOptions) -> Reading:
        engine = options.get("engine")
        if engine is None:
            settings = self._settings()
            first = self.catalog.get(options.get("model") or settings.llm_model)
            is_native = settings.pdf_skip_parsing or (first is not None and first.reads("file"))
            engine = EngineChoice("native" if is_native else "cloudflare-ai", {})
        return engine.reading(each for each in media_in(messages) if each.kind == "pdf")

    def call(self, planned: PlannedCompletion, *, load: LoadMedia | None = None) -> "ModelCall":
        """A planned turn about to be sent; nothing is sent before it is awaited.

        ``load`` brings the bytes of the files that go along, when the call begins.
        """
        run = RouteRun(
            self._open_client(),
            planned.route,
            planned.request,
            breaker=self._breaker,
            policy=replace(self._retries, begins_again=self._settings().stream_recovery is StreamRecovery.RESTART),
            request_id=planned.request_id,
            check=partial(read_answer, schema=planned.schema) if planned.schema else None,
            load=load,
        )
        return ModelCall(run, planned, self.catalog, learn=self._learn)

    def draw(
        self, requests: Sequence[ImageRequest], *, most_bytes: int, when_started: Callable[[str], None]
    ) -> DrawingRun:
        """The same wish to one model each, in the order they are tried; nothing is sent before it is awaited.

        ``when_started`` is told the id under which a call will be billed, as soon as that is known.
        """
        return DrawingRun(
            self._open_client(),
            requests,
            most_bytes=most_bytes,
            when_started=when_started,
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
            policy=self._retries,
        )

    async def keep_warm(self, planned: PlannedCompletion, left: CachedCall) -> ChatResult:
        """Send a prompt once more for a single token, to the host that has it cached and to no other.

        Raises :class:`ModelCallFailed`. Nothing is learned from it about when people come back.
        """
        model, idle = left.model, self._clock().timestamp() - left.began_at
        # While OpenRouter keeps to the host by itself it is not named: that would end the keeping.
        names_it = left.provider is not None and (left.was_ordered or idle > STICKY_SECONDS)
        order = (left.provider,) if left.provider is not None and names_it else None
        host = ProviderPreferences(order=order, allow_fallbacks=False)
        route = RoutePlan(requested=model, strategy="off", layers=((model,),), provider=host)
        # A single token fits no schema, nor is it meant to. The schema is sent all the same: the prompt stays alike.
        alone = replace(planned.limited_to(1), route=route, schema=None)
        budget = AttemptBudget(1)
        run = RouteRun(self._open_client(), route, alone.request, budget=budget, breaker=self._breaker)
        return await ModelCall(run, alone, self.catalog, learn=self._renew).complete()

    def _renew(self, planned: PlannedCompletion, served_by: str, usage: Usage) -> None:
        if usage.cached_tokens and self.catalog.same_model(planned.cache.model, served_by):
            self._cache_planner.renew(planned.cache, now=self._clock().timestamp())

    def dearest_prices(self, route: RoutePlan, *, prompt_tokens: int, hears: bool = False) -> TokenPrices | None:
        """The most a token may cost with any model of the route; ``None`` if one of them has no known price.

        ``hears``: there are recordings in the prompt, whose tokens have a price of their own.
        """
        found = [self.catalog.get(model) for layer in route.layers for model in layer]
        rates = [each.prices.at(prompt_tokens) for each in found if each is not None]
        if len(rates) < len(found) or not all(each.are_known for each in rates):
            return None
        prompt = (price for each in rates for price in (each.prompt, each.audio if hears else None))
        written = (price for each in rates for price in (each.input_cache_write, each.input_cache_write_1h))
        return TokenPrices(
            prompt=max(price for price in (*prompt, *written) if price is not None),
            completion=max(each.completion for each in rates if each.completion is not None),
        )

    def dearest_search(self, planned: PlannedCompletion) -> Decimal:
        """The most that all searches of a planned turn may cost with any model of its route."""
        if planned.search is None:
            return Decimal(0)
        found = [self.catalog.get(model) for layer in planned.route.layers for model in layer]
        prices = [each.prices.base if each else Prices() for each in found]
        return planned.search.max_searches * max(planned.search.price(each) for each in prices)

    async def get_key(self) -> KeyInfo:
        """The limits of the key in use; raises the wire's own errors."""
        return await self._open_client().get_key()

    async def get_credits(self) -> Credits:
        """The account's credits; raises the wire's own errors."""
        return await self._open_client().get_credits()

    def require_model(self, model: str, *, name: str = "model") -> str:
        """The id to send for a model somebody names; raises ``InvalidField`` naming the field ``name``."""
        resolved = self.catalog.resolve(model)
        if resolved is None:
            raise InvalidField(name, f"{model!r} is not a model this service knows.")
        return resolved.id

    @staticmethod
    def require_schema(schema: Mapping[str, Any], *, name: str) -> AnswerSchema:
        """A schema that answers can be held to; raises ``InvalidField`` naming the field and the place in it."""
        try:
            return AnswerSchema(schema)
        except SchemaProblem as problem:
            raise InvalidField(name, f"at {problem.place}: {problem.message}") from None

    async def aclose(self) -> None:
        """Close the pooled connections; a later call opens them anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def get_generation(self, generation_id: str) -> GenerationRecord:
        """What a call was billed; asked once. Raises the wire's own errors."""
        return await self._open_client().get_generation(generation_id, patience=0)

    async def _fetch_models(self) -> Sequence[ModelProfile]:
        return await self._open_client().get_models()

    def _plan_route(self, model: str | None, fallback_models: Sequence[str] | None, needs: Needs) -> RoutePlan:
        if model is not None:
            self._require_able(model, needs)
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
        fallbacks = tuple(fallback_models or ())
        try:
            return plan_route(model, policy=policy, catalog=self.catalog, fallback_models=fallbacks, needs=needs)
        except ModelNotFound as error:
            raise InvalidField("model", error.message) from error

    def _require_able(self, model: str, needs: Needs) -> None:
        """Somebody who names a model gets that one, or learns why not: another would be a surprise."""
        self.require_model(model)
        profile = self.catalog.get(model)
        unmet = needs.unmet(profile) if profile else None
        if unmet:
            raise InvalidField("model", f"{model!r} cannot {unmet}. GET /models tells what each model can.")

    def _sampling(self, route: RoutePlan, options: CompletionOptions) -> tuple[dict[str, float], tuple[str, ...]]:
        """Temperature and top-p as they are sent, and notes on what is not though it was asked for.

        A host that does not take a parameter ignores it, unless hosts must take every parameter, as with a schema:
        then it would not be asked at all.
        """
        asked = {"temperature": options.get("temperature"), "top_p": options.get("top_p")}
        wanted = asked | ({"temperature": self._settings().llm_temperature} if asked["temperature"] is None else {})
        sent = {name: value for name, value in wanted.items() if value is not None}
        if options.get("schema") is None:
            return sent, ()
        taken = {name: value for name, value in sent.items() if self._all_know(route, name)}
        unsent = [name for name in sent if name not in taken and asked[name] is not None]
        return taken, tuple(map(_not_sent, unsent))

    def _all_know(self, route: RoutePlan, parameter: str) -> bool:
        """Whether every model of the route takes it: hosts that do not are not asked when every parameter counts."""
        found = [self.catalog.get(model) for layer in route.layers for model in layer]
        return all(each is not None and each.knows(parameter) for each in found)

    def _search(self, options: WebSearchOptions | None) -> WebSearch | None:
        if options is None:
            return None
        return WebSearch(
            engine=self._settings().web_search_engine,
            max_results=options.max_results,
            max_searches=options.max_searches,
            context_size=options.context_size,
            allowed_domains=in_order(options.allowed_domains),
            excluded_domains=in_order(options.excluded_domains),
        )

    def _plan_cache(
        self,
        route: RoutePlan,
        messages: Sequence[Mapping[str, Any]],
        options: CompletionOptions,
        *,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> CachePlan:
        """Mark the prompt for the model that is asked first."""
        model, conversation, user = route.layers[0][0], options.get("conversation_id"), options.get("user_id")
        return self._cache_planner.plan(
            messages,
            model,
            now=self._clock().timestamp(),
            profile=self.catalog.get(model),
            tools=tools,
            kinds=options.get("kinds"),
            conversation=str(conversation) if conversation else None,
            earlier=options.get("cached_calls", ()),
            user=str(user) if user else None,
            policy=CachePolicy(
                strategy=self._cache_strategy(options.get("enable_caching", True)),
                min_tokens=self._settings().cache_min_tokens,
            ),
        )

    def _kept_warm(self, route: RoutePlan, cache: CachePlan, options: CompletionOptions) -> RoutePlan:
        """The route by way of the host that has the conversation cached, where OpenRouter would not find it by itself.

        An operator's order of hosts by price or speed stays as it is.
        """
        ticket, preferences = cache.ticket, route.provider or ProviderPreferences()
        if preferences.sort is not None or self._cache_strategy(options.get("enable_caching", True)) == "off":
            return route
        profile = self.catalog.get(ticket.model)
        model = profile.id if profile else ticket.model
        host = warm_host(options.get("cached_calls", ()), model, ticket.blocks, ticket.rules, now=ticket.now)
        if host is None:
            return route
        return replace(route, provider=replace(preferences, order=(host,), allow_fallbacks=True))

    def _learn(self, planned: PlannedCompletion, served_by: str, usage: Usage) -> None:
        # What another model's cache holds after a fallback tells nothing about this one's.
        if self.catalog.same_model(planned.cache.model, served_by):
            told = CacheUsage(
                # What was found is counted as prompt: then the count tells nothing of how long ours is.
                prompt_tokens=None if usage.searches else usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                cache_write_tokens=usage.cache_write_tokens,
            )
            self._cache_planner.observe(planned.cache, told)
            if self.when_learned is not None:
                self.when_learned(planned.cache, told)

    def learn_from(self, sighting: Sighting) -> None:
        """Learn from a prompt that another process had answered."""
        rules = self._cache_planner.rules(sighting.model, self.catalog.get(sighting.model))
        self._cache_planner.observe(sighting.ticket(rules), sighting.usage)

    def _cache_strategy(self, enable_caching: bool) -> CacheStrategy:
        settings = self._settings()
        is_on = enable_caching and settings.prompt_caching_enabled
        return settings.cache_control_strategy.value if is_on else "off"

    def _caching(self, options: CompletionOptions) -> Caching:
        strategy = self._cache_strategy(options.get("enable_caching", True))
        return Caching(
            is_enabled=strategy != "off",
            system_only=strategy == "system",
            floor=self._settings().cache_min_tokens,
            earlier=tuple(options.get("cached_calls", ())),
        )

    def name_of(self, user_id: UUID | None) -> str | None:
        """Under which name OpenRouter knows an account, where it may know any."""
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


openrouter_service = OpenRouterService(settings=get_settings)
