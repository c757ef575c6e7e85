"""Pictures by the first model that draws them: asked again where that may help, then the next ones."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from app.openrouter.attempts import Attempt, AttemptBudget, NextStep
from app.openrouter.client import OpenRouterClient
from app.openrouter.errors import OpenRouterError
from app.openrouter.images import Drawing, ImageRequest
from app.openrouter.retries import RetryPolicy, Situation, decide


class DrawingRun:
    """One request for pictures; `attempts` tells of every call made, also after an error or a cancellation."""

    def __init__(
        self,
        client: OpenRouterClient,
        requests: Sequence[ImageRequest],
        *,
        most_bytes: int,
        when_started: Callable[[str], None],
        request_id: str | None = None,
        budget: AttemptBudget | None = None,
        policy: RetryPolicy | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`requests` say the same to one model each, in the order in which they are to be tried."""
        self.attempts: list[Attempt] = []
        self._client = client
        self._requests = list(requests)
        self._most_bytes = most_bytes
        self._when_started = when_started
        self._request_id = request_id
        self._budget = budget or AttemptBudget()
        self._policy = policy or RetryPolicy()
        self._chance = chance

    async def complete(self) -> Drawing:
        """The pictures; raises the last error when no model drew any."""
        tries = 0
        while True:
            self._budget.take()
            tries += 1
            try:
                return await self._draw(self._requests[0])
            except OpenRouterError as error:
                step = self._step_after(error, tries)
                self.attempts[-1] = replace(self.attempts[-1], next_step=step)
                if step is None:
                    raise
                if step == "next_models":
                    self._requests.pop(0)
                    tries = 0
                else:
                    await asyncio.sleep(self._policy.wait(tries, error, self._chance()))

    async def _draw(self, request: ImageRequest) -> Drawing:
        started, heard = _now(), list[str]()

        def note(generation_id: str) -> None:
            heard.append(generation_id)
            self._when_started(generation_id)

        try:
            drawing = await self._client.draw(
                request, most_bytes=self._most_bytes, when_started=note, request_id=self._request_id
            )
        except OpenRouterError as error:
            self._note_failure(request, error, started)
            raise
        except asyncio.CancelledError:
            self.attempts.append(self._attempt(request, started, "cancelled", heard[-1] if heard else None))
            raise
        attempt = self._attempt(request, started, None, drawing.generation_id)
        served = replace(attempt, model=drawing.model, provider=drawing.provider, usage=drawing.usage)
        self.attempts.append(served)
        return drawing

    def _note_failure(self, request: ImageRequest, error: OpenRouterError, started: float) -> None:
        attempt = self._attempt(request, started, error.code, error.generation_id)
        usage = error.partial.usage if error.partial else None
        failed = replace(attempt, provider=error.provider, status=error.status, message=error.message, usage=usage)
        self.attempts.append(failed)

    def _attempt(self, request: ImageRequest, started: float, error: str | None, generation_id: str | None) -> Attempt:
        return Attempt(
            number=len(self.attempts) + 1,
            models_asked=(request.model,),
            model=request.model,
            provider=None,
            error=error,
            latency_seconds=_now() - started,
            generation_id=generation_id,
        )

    def _step_after(self, error: OpenRouterError, tries: int) -> NextStep | None:
        situation = Situation(
            models=(self._requests[0].model,),
            tries=tries,
            others_left=len(self._requests) > 1,
            hosts_ignored=False,
            content_came=False,
            tool_call_came=False,
            attempts_left=self._budget.left,
        )
        return decide(error, situation, self._policy)


def _now() -> float:
    return asyncio.get_running_loop().time()
