"""One turn on its route: ask, and where a call fails ask again or ask others, within the budget."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, replace

from app.openrouter.attempts import Attempt, AttemptBudget, NextStep
from app.openrouter.breaker import CircuitBreaker, outcome_of
from app.openrouter.client import OpenRouterClient
from app.openrouter.errors import AnswerMisfit, AttemptsSpent, OpenRouterError
from app.openrouter.media import Media, as_sent, media_in
from app.openrouter.parsed_files import with_parsed
from app.openrouter.retries import RetryPolicy, decide
from app.openrouter.route_steps import Call, Leg
from app.openrouter.routing import RoutePlan
from app.openrouter.types import (
    ChatRequest,
    Completion,
    CompletionFinished,
    GenerationStarted,
    ProviderPreferences,
    StreamEvent,
    ToolCallDelta,
)


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A call failed, and another follows. ``content_came``: what it showed is void, the next one begins anew."""

    attempt: Attempt
    content_came: bool = False


RouteEvent = StreamEvent | AttemptFailed
LoadMedia = Callable[[Collection[Media]], AbstractAsyncContextManager[Mapping[str, bytes]]]
"""Gives the bytes of files, by source, while its block lasts."""


class RouteRun:
    """Carries one turn along its plan. `attempts` tells of every call made, also after an error or a cancellation.

    The breaker is shared by the turns of a process, the budget by the calls of one turn.
    """

    def __init__(
        self,
        client: OpenRouterClient,
        plan: RoutePlan,
        request: ChatRequest,
        *,
        budget: AttemptBudget | None = None,
        breaker: CircuitBreaker | None = None,
        policy: RetryPolicy | None = None,
        request_id: str | None = None,
        check: Callable[[Completion], object] | None = None,
        load: LoadMedia | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`check` raises `AnswerMisfit` for a whole answer that will not do: it is mended, or others are asked.

        `load` gives, by source, the bytes of what goes along with the prompt; they are held as long as its block, which
        lasts as long as the run.
        """
        self.attempts: list[Attempt] = []
        self.misfit: AnswerMisfit | None = None
        """The last answer that would not do."""
        self._check = check
        self._load = load
        self._client = client
        self._plan = plan
        self._request = request
        self._budget = budget or AttemptBudget()
        self._breaker = breaker or CircuitBreaker()
        self._policy = policy or RetryPolicy()
        self._request_id = request_id
        self._chance = chance

    async def complete(self) -> Completion:
        """The whole answer at once."""
        async with aclosing(self._run(self._one_event)) as events:
            async for event in events:
                if isinstance(event, CompletionFinished):
                    return event.completion
        raise AssertionError("A run ends with a completion or an error.")

    def stream(self) -> AsyncGenerator[RouteEvent]:
        """The answer as it comes; the last event is `CompletionFinished`. Wrap it in `contextlib.aclosing`.

        A failure comes as `AttemptFailed`, and the next call begins, with a `GenerationStarted` of its own; one that
        nothing follows is raised.
        """
        return self._run(lambda request: self._client.stream(request, request_id=self._request_id))

    async def _one_event(self, request: ChatRequest) -> AsyncGenerator[StreamEvent]:
        yield CompletionFinished(await self._client.complete(request, request_id=self._request_id))

    async def _run(self, ask: Callable[[ChatRequest], AsyncGenerator[StreamEvent]]) -> AsyncGenerator[RouteEvent]:
        leg = self._admitted(Leg(self._plan.layers[0], self._plan.layers[1:]))
        async with AsyncExitStack() as held:
            self._request = await self._prepared(self._request, held)
            while True:
                call = self._begin(leg)
                try:
                    async with aclosing(ask(call.request)) as events:
                        async for event in events:
                            if self._check is not None and isinstance(event, CompletionFinished):
                                self._check(event.completion)
                            self._note(call, event)
                            yield event
                    return
                except OpenRouterError as error:
                    if isinstance(error, AnswerMisfit):
                        self.misfit, leg = error, leg.at(error.model)
                    step = decide(error, leg.situation(call, self._budget.left), self._policy)
                    attempt = self._end(call, error=error, next_step=step)
                    if error.file_annotations:  # paid for once: whoever is asked next is told what was read
                        messages = with_parsed(self._request.messages, error.file_annotations)
                        self._request = replace(self._request, messages=messages)
                    if step is None:
                        raise
                    wait = self._policy.wait(leg.tries, error, self._chance()) if step == "retry" else 0.0
                    leg = self._admitted(leg.after(step, error, call))
                except (GeneratorExit, asyncio.CancelledError):
                    self._leave(call)
                    raise
                yield AttemptFailed(attempt, content_came=call.first_content is not None)
                await asyncio.sleep(wait)

    async def _prepared(self, request: ChatRequest, held: AsyncExitStack) -> ChatRequest:
        """With the bytes of what goes along in place of what stands for them."""
        media = list(media_in(request.messages))
        if not media:
            return request
        wanted = {each for each in media if not each.is_link}
        contents = await held.enter_async_context(self._load(wanted)) if wanted and self._load else {}
        return replace(request, messages=await asyncio.to_thread(as_sent, request.messages, contents))

    def _begin(self, leg: Leg) -> Call:
        if not self._budget.take():
            raise AttemptsSpent("OpenRouter was asked as often as one turn may ask.")
        now, model = _now(), leg.models[0]
        ignored = () if leg.all_hosts else (*leg.broken_hosts, *self._breaker.failing_providers(model, now))
        request = _ignoring(self._plan.request(self._request, leg.models), ignored)
        if leg.repair:
            request = replace(request, messages=(*request.messages, *leg.repair))
        return Call(leg.models, request, bool(ignored), now, self._breaker.begin(model, now))

    def _note(self, call: Call, event: StreamEvent) -> None:
        if isinstance(event, GenerationStarted):
            call.started = event
        elif isinstance(event, CompletionFinished):
            self._end(call, completion=event.completion)
        else:
            if call.first_content is None:
                call.first_content = _now()
            call.tool_call_came = call.tool_call_came or isinstance(event, ToolCallDelta)

    def _end(
        self,
        call: Call,
        *,
        completion: Completion | None = None,
        error: OpenRouterError | None = None,
        next_step: NextStep | None = None,
    ) -> Attempt:
        now = _now()
        attempt = call.attempt(len(self.attempts) + 1, now, completion, error, next_step)
        self.attempts.append(attempt)
        call.ended = True
        model = attempt.model if attempt.model in call.models else call.models[0]
        self._breaker.end(model, attempt.provider, outcome_of(error), now, probes=call.probes)
        return attempt

    def _leave(self, call: Call) -> None:
        """The turn was given up in the middle of a call: what it cost can be asked for by its generation id."""
        if not call.ended:
            attempt = call.attempt(len(self.attempts) + 1, _now(), None, None, None)
            self.attempts.append(replace(attempt, error="cancelled"))
            self._breaker.end(call.models[0], None, "neither", _now(), probes=call.probes)

    def _admitted(self, leg: Leg) -> Leg:
        """Leave out what the breaker keeps shut, as long as something remains to be asked."""
        now = _now()
        for place, models in enumerate((leg.models, *leg.layers)):
            admitted = tuple(model for model in models if self._breaker.admits(model, now))
            if admitted == leg.models:
                return leg
            if admitted:
                return Leg(admitted, leg.layers[place:]) if place else replace(leg, models=admitted)
        return leg


def _ignoring(request: ChatRequest, providers: Sequence[str]) -> ChatRequest:
    if not providers:
        return request
    preferences = request.provider or ProviderPreferences()
    ignore = tuple(dict.fromkeys((*(preferences.ignore or ()), *providers)))
    return replace(request, provider=replace(preferences, ignore=ignore))


def _now() -> float:
    return asyncio.get_running_loop().time()
