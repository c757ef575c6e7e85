"""One call of a model with its retries and fallbacks: planned, on its way, answered or failed in our words."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any

import structlog

from app.core.errors import AppError
from app.openrouter.answer_schema import AnswerSchema
from app.openrouter.attempts import Attempt, RouteSummary, summarize
from app.openrouter.cache_accounts import CacheAccount, account_for
from app.openrouter.cache_prints import CachedCall, print_of
from app.openrouter.cache_rules import cache_rules
from app.openrouter.cache_verdicts import CacheVerdict, JudgedCall, judge
from app.openrouter.catalog import Catalog
from app.openrouter.errors import ContextLengthExceeded, Moderated, OpenRouterError
from app.openrouter.parsed_files import Reading, match_files, text_of
from app.openrouter.pricing import Prices
from app.openrouter.prompt_cache import CacheTicket
from app.openrouter.route_run import RouteEvent, RouteRun
from app.openrouter.routing import RoutePlan
from app.openrouter.structured_output import Outcome, read_answer
from app.openrouter.types import ChatRequest, Completion, CompletionFinished, Usage
from app.openrouter.web_search import WebSearch, with_search_cost

log = structlog.get_logger(__name__)


MOST_TOKENS = 50_000_000
MOST_USD = Decimal(10_000)
"""No call uses or costs that much: such a number is a defect upstream, and counts as not told."""


def sane_usage(usage: Usage) -> Usage:
    """The usage as it can be booked: absurd numbers are unknown, and a prompt has all the parts that were told."""
    prompt, completion = _plausible(usage.prompt_tokens), _plausible(usage.completion_tokens)
    cached, written = _plausible(usage.cached_tokens), _plausible(usage.cache_write_tokens)
    cost = usage.cost if usage.cost is None or 0 <= usage.cost <= MOST_USD else None
    if prompt is not None or cached or written:
        prompt = max(prompt or 0, (cached or 0) + (written or 0))
    sane = replace(
        usage,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_plausible(usage.total_tokens),
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=_plausible(usage.reasoning_tokens),
        audio_tokens=_plausible(usage.audio_tokens),
        searches=_plausible(usage.searches),
        cost=cost,
    )
    if sane != usage:
        log.warning("usage.implausible", told=repr(usage))
    return sane


def _plausible(count: int | None) -> int | None:
    return count if count is None or 0 <= count <= MOST_TOKENS else None


class ModelCallFailed(AppError):
    """No whole answer came. ``attempts`` are the calls that were made; ``reason`` in the body is the wire's word."""

    status_code = 502
    code = "upstream_failed"

    def __init__(
        self, detail: str, *, reason: str, attempts: Sequence[Attempt], retry_after: float | None, **fields: Any
    ) -> None:
        headers = {"Retry-After": str(max(1, round(retry_after)))} if retry_after else None
        told = [tell_attempt(each) for each in attempts]
        super().__init__(detail, headers=headers, reason=reason, attempts=told, **fields)
        self.attempts = tuple(attempts)


class ContextTooLong(ModelCallFailed):
    """The conversation and the answer do not fit into the model's context."""

    status_code = 400
    code = "context_too_long"


class ContentModerated(ModelCallFailed):
    """The provider refused the content."""

    status_code = 400
    code = "content_moderated"


class FilesUnavailable(ModelCallFailed):
    """A file that goes along could not be read from its store, so nobody was asked."""

    status_code = 503
    code = "files_unavailable"


class SchemaNotSatisfied(ModelCallFailed):
    """Models answered, but none of them by the schema; ``misfits`` in the body are what was wrong with the last one."""

    code = "schema_not_satisfied"


@dataclass(frozen=True, slots=True)
class StructuredData:
    """Data that was checked against the schema of its turn, and how it came to fit."""

    data: Any
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """What has to be known to tell later why a prompt was found in a cache or not.

    ``earlier`` are the conversation's calls that left something in a cache, newest first.
    """

    is_enabled: bool
    system_only: bool
    floor: int
    earlier: tuple[CachedCall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCaching:
    """What caching did in one attempt. ``left`` is None where the attempt left nothing in a cache."""

    account: CacheAccount
    verdict: CacheVerdict | None
    left: CachedCall | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCompletion:
    """A turn ready to be sent: the request, the models it may go to, and what was decided on the way there."""

    request: ChatRequest
    route: RoutePlan
    cache: CacheTicket
    """How the prompt was marked, and why."""
    caching: "Caching"
    request_id: str | None
    schema: AnswerSchema | None = None
    """What the answer has to fit."""
    reading: Reading | None = None
    """How the documents of the prompt are read, where there are any."""
    search: WebSearch | None = None
    """What the model may look up."""

    def limited_to(self, max_tokens: int) -> "PlannedCompletion":
        """The same turn with a shorter answer."""
        return replace(self, request=replace(self.request, max_tokens=max_tokens))

    def noting(self, *notes: str) -> "PlannedCompletion":
        """The same turn with more to tell the person."""
        return replace(self, route=replace(self.route, notes=(*notes, *self.route.notes)))


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
    caching: tuple[AttemptCaching, ...]
    """What caching did in each attempt, the last of which gave the answer."""
    completion: Completion = field(repr=False)
    structured: StructuredData | None = None
    """Where the turn has a schema, and then always."""
    pdf_ocr_cost_usd: Decimal | None = None
    """A part of the bill; ``None`` where no pages were recognised."""

    @property
    def answer(self) -> str:
        """What was asked for: empty when the model refused, where :attr:`content` holds what it had to say instead."""
        return "" if self.completion.refusal else self.completion.content

    @property
    def total_cost_usd(self) -> Decimal | None:
        """What OpenRouter billed for the answer."""
        return self.usage.cost


class ModelCall:
    """One turn on its way: await :meth:`complete` or read :meth:`stream`, once. Errors come in the product's words."""

    def __init__(
        self,
        run: RouteRun,
        planned: PlannedCompletion,
        catalog: Catalog,
        *,
        learn: Callable[[PlannedCompletion, str, Usage], None],
    ) -> None:
        self._run = run
        self._planned = planned
        self._catalog = catalog
        self._learn = learn
        self.result: ChatResult | None = None
        """The whole answer, once it has come: also for whoever was cancelled before they could take it."""

    @property
    def planned(self) -> PlannedCompletion:
        """What was decided before it was sent."""
        return self._planned

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every call made so far, also after an error or a cancellation."""
        return tuple(self._run.attempts)

    @property
    def caching(self) -> tuple[AttemptCaching, ...]:
        """What caching did in each of the attempts."""
        return tuple(self._caching(each) for each in self.attempts)

    def _usage(self, usage: Usage, model: str) -> Usage:
        """As it can be booked, with what its searches cost."""
        profile = self._catalog.get(model)
        return with_search_cost(sane_usage(usage), profile.prices.base if profile else Prices(), self._planned.search)

    def _caching(self, attempt: Attempt) -> AttemptCaching:
        usage = self._usage(attempt.usage, attempt.model) if attempt.usage else None
        profile, cache = self._catalog.get(attempt.model), self._planned.cache
        answered = attempt.error is None or usage is not None or attempt.first_token_seconds is not None
        return AttemptCaching(
            account=account_for(usage, profile.prices if profile else None, cache.blocks, cache.breakpoints),
            verdict=self._verdict(attempt, usage) if answered else None,
            left=self._left(attempt, usage) if answered else None,
        )

    def _verdict(self, attempt: Attempt, usage: Usage | None) -> CacheVerdict:
        caching, cache = self._planned.caching, self._planned.cache
        profile = self._catalog.get(attempt.model)
        call = JudgedCall(
            model=profile.id if profile else attempt.model,
            provider=attempt.provider,
            asked_at=cache.now,
            blocks=cache.blocks,
            points=cache.breakpoints,
            is_enabled=caching.is_enabled,
            prompt_tokens=_own_tokens(usage, cache.blocks.ends[-1]) if usage else None,
            cached_tokens=usage.cached_tokens if usage else None,
            floor=caching.floor,
            system_only=caching.system_only,
        )
        return judge(call, caching.earlier, cache_rules(call.model, profile))

    def _left(self, attempt: Attempt, usage: Usage | None) -> CachedCall | None:
        """What a later turn should find of the prompt, where anything of it may be in a cache now."""
        cache, profile = self._planned.cache, self._catalog.get(attempt.model)
        rules = cache_rules(attempt.model, profile)
        options = self._planned.request.prompt_cache_options or {}
        ends_are_kept = rules.mechanism == "breakpoints" and options.get("mode") != "explicit"
        is_marked = ends_are_kept or bool(cache.breakpoints)
        counted = (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0) if usage else 0
        if rules.mechanism == "none" or (rules.takes_marks and not is_marked):
            return None
        is_told = usage is not None and usage.cached_tokens is not None and usage.cache_write_tokens is not None
        if rules.takes_marks and is_told and not counted:
            return None
        waited = sum(each.latency_seconds for each in self.attempts[: attempt.number - 1])
        printed = print_of(cache.blocks, cache.breakpoints, end_is_kept=ends_are_kept)
        # Vendors that cache by themselves count no writes: all of it was left.
        whole = usage.prompt_tokens if usage and not usage.searches else None
        return CachedCall(
            model=profile.id if profile else attempt.model,
            provider=attempt.provider,
            began_at=cache.now + waited + (attempt.first_token_seconds or 0.0),
            tokens=(counted or None) if printed.marks else whole,
            printed=printed,
            was_ordered=bool(self._planned.route.provider and self._planned.route.provider.order),
            searched=self._planned.search is not None,
        )

    @property
    def route(self) -> RouteSummary:
        """Which models were tried so far, and which one answered."""
        route = self._planned.route
        return summarize(self.attempts, requested=route.requested, strategy=route.strategy, catalog=self._catalog)

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
        planned = self._planned
        model = completion.model or planned.route.requested
        usage = self._usage(completion.usage or Usage(), model)
        self._learn(planned, model, usage)
        caching = self.caching
        self.result = ChatResult(
            content=completion.content + (completion.refusal or ""),  # a refusal, too, is what the model had to say
            model=model,
            provider=completion.provider,
            usage=usage,
            cache_discount_usd=caching[-1].account.discount_usd,
            finish_reason=completion.finish_reason,
            route=self.route,
            notes=(*planned.route.notes, *_notes_on_nothing(completion), *_notes_on_files(planned.reading, completion)),
            cache_breakpoint_count=len(planned.cache.breakpoints),
            attempts=self.attempts,
            caching=caching,
            completion=completion,
            structured=self._structured(completion),
            pdf_ocr_cost_usd=_recognition_cost(planned.reading, completion, usage),
        )
        return self.result

    def _structured(self, completion: Completion) -> StructuredData | None:
        if self._planned.schema is None:
            return None
        read = read_answer(completion, self._planned.schema)
        is_repaired = _is_repair(self.attempts)
        return StructuredData(read.data, "repaired" if is_repaired else "healed" if read.is_healed else "valid")

    def _told_as_ours(self, error: OpenRouterError) -> ModelCallFailed:
        log.warning("openrouter.failed", error_code=error.code, status=error.status, provider=error.provider)
        told: dict[str, Any] = {}
        kind, detail = ModelCallFailed, "No model could answer. Nothing was charged; try again."
        if isinstance(error, ContextLengthExceeded):
            kind, detail = ContextTooLong, "The conversation is too long for this model. Begin a new one."
        elif isinstance(error, Moderated):
            kind, detail = ContentModerated, "The model's provider refused this content. Put it in other words."
        elif self._run.misfit is not None:
            kind, detail = SchemaNotSatisfied, "No model gave an answer that fits the schema. Nothing was charged."
            told["models_attempted"] = list(self.route.models_attempted)
            told["misfits"] = [asdict(each) for each in self._run.misfit.misfits]
        return kind(detail, reason=error.code, attempts=self.attempts, retry_after=error.retry_after, **told)


def _recognition_cost(reading: Reading | None, completion: Completion, usage: Usage) -> Decimal | None:
    """As OpenRouter told it, else by its price; never more than was billed beside searches. Nothing read: nothing."""
    if reading is None or not reading.is_recognition or usage.cost is None:
        return None
    told = completion.parsing_cost
    if told is None:
        told = reading.most_usd if any(each.get("type") == "file" for each in completion.annotations) else Decimal(0)
    return min(told, usage.cost - (usage.search_cost or Decimal(0))) or None


def _notes_on_files(reading: Reading | None, completion: Completion) -> Iterator[str]:
    """Documents in which the engine that costs nothing found nothing."""
    if reading is None or reading.engine != "cloudflare-ai":
        return
    for file, annotation in match_files(reading.fresh, completion.annotations):
        if not text_of(annotation):
            advice = 'Ask again to have its pages read by OCR ($0.002 a page), or with `pdf_engine: "ocr"`.'
            yield f'No text was found in "{file.name}". {advice}'


def _own_tokens(usage: Usage, estimate: int) -> int | None:
    """How long the prompt is without what was found for it, which is counted as prompt too."""
    counted = usage.prompt_tokens
    return min(counted, estimate) if usage.searches and counted is not None else counted


def _is_repair(attempts: Sequence[Attempt]) -> bool:
    """Whether the last attempt was asked to mend an answer, perhaps after retries."""
    steps = [each.next_step for each in attempts[:-1]]
    last_move = next((step for step in reversed(steps) if step in ("repair", "next_models")), None)
    return last_move == "repair"


def _notes_on_nothing(completion: Completion) -> Iterator[str]:
    """Why a whole answer says nothing, where that is known."""
    if completion.is_empty and completion.finish_reason == "length":
        yield "The model spent all its tokens on thinking; ask again with a higher `max_tokens`."
    elif completion.is_empty and completion.finish_reason == "content_filter":
        yield "The model's provider withheld the answer."


def tell_route(route: RouteSummary) -> dict[str, Any]:
    """The four facts of a turn's route, as messages and logs keep them."""
    return asdict(route) | {"models_attempted": list(route.models_attempted)}


def tell_attempt(attempt: Attempt) -> dict[str, Any]:
    """What a person is told of a failed call: never the provider's own words, which may quote the prompt."""
    return {
        "model": attempt.model,
        "provider": attempt.provider,
        "error": attempt.error,
        "status": attempt.status,
    }
