"""The record of what was tried for one turn, and how much more may be tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.openrouter.catalog import Catalog
from app.openrouter.errors import AnswerMisfit
from app.openrouter.types import Usage

NextStep = Literal["retry", "next_models", "without_invalid_model", "without_ignored_hosts", "repair"]
"""What followed a failed attempt: the same again, the next models of the plan, the same models but those that
OpenRouter does not know, the same models on all their hosts, or the same model with what is wrong with its answer."""


class AttemptBudget:
    """How often OpenRouter may still be called for one turn, whatever the reason: retry, fallback or repair."""

    def __init__(self, attempts: int = 5) -> None:
        self.left = attempts

    def take(self) -> bool:
        """Use one; False when none is left."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call to OpenRouter. `error` is None when it gave the answer; a call that was left early says `cancelled`."""

    number: int
    """From 1, in the order of the turn."""
    models_asked: tuple[str, ...]
    """In the order in which OpenRouter was to try them."""
    model: str
    """The one that served, or failed; the first one asked where OpenRouter did not say."""
    provider: str | None
    status: int | None = None
    error: str | None = None
    """The error's `code`."""
    message: str | None = None
    latency_seconds: float = 0.0
    first_token_seconds: float | None = None
    usage: Usage | None = None
    """Also of a failed attempt: it may have been billed."""
    generation_id: str | None = None
    partial_content: str | None = None
    """The text a failed call gave before it failed."""
    file_annotations: tuple[Mapping[str, Any], ...] = ()
    """Documents that were read, and paid for, although the call failed."""
    next_step: NextStep | None = None
    """None after the answer, and where nothing more was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSummary:
    """A turn's attempts as a message remembers them."""

    routing_strategy: str
    models_attempted: tuple[str, ...]
    final_model_used: str | None
    fallback_used: bool


def summarize(attempts: Sequence[Attempt], *, requested: str, strategy: str, catalog: Catalog) -> RouteSummary:
    """Which models were tried, each once, and whether the answer came from another than the requested one."""
    answered = next((attempt for attempt in attempts if attempt.error is None), None)
    tried: list[str] = []
    for attempt in attempts:
        has_answered = attempt.error in (None, AnswerMisfit.code)
        tried += _until_served(attempt, catalog) if has_answered else attempt.models_asked
    final = answered.model if answered else None
    return RouteSummary(
        routing_strategy=strategy,
        models_attempted=tuple(dict.fromkeys(tried)),
        final_model_used=final,
        fallback_used=answered is not None and _until_served(answered, catalog)[-1] != requested,
    )


def _until_served(attempt: Attempt, catalog: Catalog) -> tuple[str, ...]:
    """The models asked up to the one that served. A name that fits none is the first one's: routers, unknown dates."""
    for place, model in enumerate(attempt.models_asked, start=1):
        if catalog.same_model(model, attempt.model):
            return attempt.models_asked[:place]
    return attempt.models_asked[:1]
