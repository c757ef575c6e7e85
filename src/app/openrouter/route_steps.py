"""Where a turn stands on its route: the models being asked, and the call under way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.openrouter.attempts import Attempt, NextStep
from app.openrouter.breaker import Key
from app.openrouter.errors import AnswerMisfit, OpenRouterError
from app.openrouter.retries import Situation, invalid_models
from app.openrouter.types import ChatRequest, Completion, GenerationStarted


@dataclass(slots=True)
class Call:
    """One call under way."""

    models: tuple[str, ...]
    request: ChatRequest
    hosts_ignored: bool
    began: float
    probes: tuple[Key, ...]
    started: GenerationStarted | None = None
    first_content: float | None = None
    tool_call_came: bool = False
    ended: bool = False

    def attempt(
        self,
        number: int,
        now: float,
        completion: Completion | None,
        error: OpenRouterError | None,
        next_step: NextStep | None,
    ) -> Attempt:
        """The record of the call: what the answer or the error says, else what the first chunk said."""
        told = completion or error or self.started
        partial = completion or (error.partial if error else None)
        return Attempt(
            number=number,
            models_asked=self.models,
            model=(told.model if told else None) or self.models[0],
            provider=told.provider if told else None,
            status=error.status if error else None,
            error=error.code if error else None,
            message=str(error) if error else None,
            latency_seconds=now - self.began,
            first_token_seconds=self.first_content - self.began if self.first_content is not None else None,
            usage=partial.usage if partial else None,
            partial_content=partial.content if partial and error else None,
            generation_id=told.generation_id if told else None,
            file_annotations=error.file_annotations if error else (),
            next_step=next_step,
        )


@dataclass(frozen=True, slots=True)
class Leg:
    """Where the turn stands on its route: the models to ask now, and the layers behind them."""

    models: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    tries: int = 1
    all_hosts: bool = False
    """True: also those hosts that would be kept out."""
    broken_hosts: tuple[str, ...] = ()
    """Hosts that broke off in the middle of an answer of this turn: others are asked before them."""
    repair: tuple[Mapping[str, Any], ...] = ()
    """What is said behind the prompt: the answer that did not fit, and why not."""

    def at(self, served: str | None) -> "Leg":
        """The same leg where the model that `served` is asked alone, and those behind it in the next layer."""
        place = _place_of(served or "", self.models)
        behind = self.models[place + 1 :]
        return replace(self, models=(self.models[place],), layers=(behind, *self.layers) if behind else self.layers)

    def situation(self, call: Call, attempts_left: int) -> Situation:
        return Situation(
            models=self.models,
            tries=self.tries,
            others_left=bool(self.layers),
            hosts_ignored=call.hosts_ignored,
            content_came=call.first_content is not None,
            tool_call_came=call.tool_call_came,
            attempts_left=attempts_left,
            is_repair=bool(self.repair),
        )

    def after(self, step: NextStep, error: OpenRouterError, call: Call) -> "Leg":
        broke_off = (error.provider,) if call.first_content is not None and error.provider else ()
        hosts = tuple(dict.fromkeys((*self.broken_hosts, *broke_off)))
        if step == "next_models":
            return Leg(self.layers[0], self.layers[1:], broken_hosts=hosts)
        if step == "repair" and isinstance(error, AnswerMisfit):
            return replace(self, tries=1, repair=error.repair)
        if step == "without_ignored_hosts":
            return replace(self, all_hosts=True)
        if step == "without_invalid_model":
            invalid = invalid_models(error, self.models)
            return replace(self, models=tuple(model for model in self.models if model not in invalid))
        return replace(self, tries=self.tries + 1, broken_hosts=hosts)


def _place_of(served: str, models: tuple[str, ...]) -> int:
    """Where a model stands that is perhaps told with a date behind its id; a name that fits none is the first one's."""
    fitting = [place for place, model in enumerate(models) if served == model or served.startswith(f"{model}-")]
    return max(fitting, key=lambda place: len(models[place]), default=0)
