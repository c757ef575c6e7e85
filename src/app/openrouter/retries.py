"""Whether to try again after a failure, with what, and how long to wait before: a decision without clock or chance."""

from dataclasses import dataclass

from app.openrouter.attempts import NextStep
from app.openrouter.errors import AnswerMisfit, ModelNotFound, OpenRouterError, UpstreamTimeout


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Seconds, and how often the same models are asked."""

    first_wait: float = 0.5
    growth: float = 2.0
    longest_wait: float = 20.0
    """A longer `Retry-After` is not waited for: other models are tried, or the failure is told."""
    tries_before_others: int = 2
    """How often the same models are asked while others stand behind them."""
    tries_alone: int = 3
    begins_again: bool = True
    """After an answer broke off in the middle, another is begun from the start; never once a tool call was emitted."""

    def wait(self, tries: int, error: OpenRouterError, chance: float) -> float:
        """Full jitter: anything between nothing and the growing bound, after what the upstream asked for.

        `tries` counts those that failed, `chance` is between 0 and 1.
        """
        bound = min(self.longest_wait, self.first_wait * self.growth ** (tries - 1))
        return (error.retry_after or 0.0) + bound * chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Where a turn stands after a failed attempt."""

    models: tuple[str, ...]
    tries: int
    """How often these models were asked in this form, the failed attempt included."""
    others_left: bool
    """More models stand in the plan."""
    hosts_ignored: bool
    """The request kept failing hosts out."""
    content_came: bool
    """Something was shown already: to begin again takes it back."""
    tool_call_came: bool
    """Somebody may have acted on it: there is no taking back."""
    attempts_left: int
    is_repair: bool = False
    """The failed attempt was asked to mend an answer."""


def decide(error: OpenRouterError, situation: Situation, policy: RetryPolicy) -> NextStep | None:
    """What to do next; None to give up."""
    if isinstance(error, AnswerMisfit):
        return _after_misfit(error, situation)
    if situation.attempts_left < 1 or _time_is_over(error) or not _may_begin_again(situation, policy):
        return None
    if situation.hosts_ignored and isinstance(error, ModelNotFound):
        return "without_ignored_hosts"
    if 0 < len(invalid_models(error, situation.models)) < len(situation.models):
        return "without_invalid_model"
    if situation.content_came and situation.others_left and error.worth_another_model:
        return "next_models"  # these models were heard, and broke off
    if _worth_a_retry(error, situation, policy):
        return "retry"
    return "next_models" if situation.others_left and error.worth_another_model else None


def invalid_models(error: OpenRouterError, models: tuple[str, ...]) -> tuple[str, ...]:
    """Those that OpenRouter does not know: one of them fails the call for all, and the valid ones are not tried."""
    if not isinstance(error, ModelNotFound) or error.status != 400:
        return ()
    return tuple(model for model in models if model in error.message)


def _after_misfit(error: AnswerMisfit, situation: Situation) -> NextStep | None:
    """Each model may mend its answer once. It is no broken stream: it is put right whatever those come to."""
    if situation.attempts_left < 1 or situation.tool_call_came:
        return None
    if error.repair and not situation.is_repair:
        return "repair"
    return "next_models" if situation.others_left else None


def _may_begin_again(situation: Situation, policy: RetryPolicy) -> bool:
    return not situation.content_came or (policy.begins_again and not situation.tool_call_came)


def _worth_a_retry(error: OpenRouterError, situation: Situation, policy: RetryPolicy) -> bool:
    tries = policy.tries_before_others if situation.others_left else policy.tries_alone
    if not error.retryable or situation.tries >= tries or (error.retry_after or 0.0) > policy.longest_wait:
        return False
    # Who waited a whole time-out for these models should not wait for them again while others can answer.
    return not (isinstance(error, UpstreamTimeout) and situation.others_left)


def _time_is_over(error: OpenRouterError) -> bool:
    return isinstance(error, UpstreamTimeout) and error.phase == "total"
