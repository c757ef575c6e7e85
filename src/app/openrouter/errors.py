"""What can go wrong on the wire, by meaning: each error says whether trying again is worth it, and who failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from app.openrouter.types import Completion

TimeoutPhase = Literal["connect", "first_token", "stalled", "total", "upstream"]


class OpenRouterError(Exception):
    """A call to OpenRouter failed.

    `retryable`: the same request may succeed when sent again. `worth_another_model`: another model may succeed now.
    `status` is the upstream's code, also when it came inside a 200. `partial` is what arrived before the failure, with
    its usage when that came too: it may have been billed. `retry_after` is in seconds.
    """

    code: ClassVar[str] = "openrouter_error"
    retryable_by_nature: ClassVar[bool] = False
    retryable_by_flag: ClassVar[bool] = True
    """Whether OpenRouter's own `retryable` flag overrides the nature."""
    worth_another_model: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        provider: str | None = None,
        model: str | None = None,
        generation_id: str | None = None,
        upstream_message: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        previous_errors: Sequence[Mapping[str, Any]] = (),
        fallback_models: Sequence[str] = (),
        file_annotations: Sequence[Mapping[str, Any]] = (),
        partial: Completion | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.provider = provider
        self.model = model
        self.generation_id = generation_id
        self.upstream_message = upstream_message
        """The host's own words, where OpenRouter only says `Provider returned error`."""
        flagged = retryable is not None and self.retryable_by_flag
        self.retryable: bool = bool(retryable) if flagged else self.retryable_by_nature
        self.retry_after = retry_after
        self.previous_errors = tuple(previous_errors)
        """Hosts that OpenRouter tried before, as it tells them: provider, code, status."""
        self.fallback_models = tuple(fallback_models)
        """Models OpenRouter proposes instead."""
        self.file_annotations = tuple(file_annotations)
        """Files parsed (and paid for) although the answer failed: send them back to skip parsing."""
        self.partial = partial

    def conceal(self, secret: str) -> None:
        """Take `secret` out of every text, should the other side have echoed it."""
        self.message = self.message.replace(secret, "[concealed]")
        self.upstream_message = self.upstream_message and self.upstream_message.replace(secret, "[concealed]")
        self.args = (self.message,)

    def __str__(self) -> str:
        if self.upstream_message and self.upstream_message != self.message:
            return f"{self.message} ({self.provider or 'upstream'}: {self.upstream_message})"
        return self.message


class BadRequest(OpenRouterError):
    """The request itself was refused: a field, a size, a picture that cannot be read."""

    code = "bad_request"


class ContextLengthExceeded(BadRequest):
    """The conversation and the answer do not fit into the model's context."""

    code = "context_length_exceeded"


class AuthenticationFailed(OpenRouterError):
    """The key is missing, wrong or disabled."""

    code = "authentication_failed"
    worth_another_model = False


class PaymentRequired(OpenRouterError):
    """No credits, or a key's or workspace's spending limit is reached. Never retried, whatever the flag says."""

    code = "payment_required"
    retryable_by_flag = False
    worth_another_model = False


class Forbidden(OpenRouterError):
    """A guardrail, a region, a routing gate or the host refused. The key itself may be healthy."""

    code = "forbidden"


class Moderated(Forbidden):
    """The content was refused by moderation."""

    code = "moderated"


class ModelNotFound(OpenRouterError):
    """No such model, or no host of it can do what was asked."""

    code = "model_not_found"


class GenerationNotFound(OpenRouterError):
    """The generation's record does not exist, or not yet."""

    code = "generation_not_found"
    retryable_by_nature = True


class RateLimited(OpenRouterError):
    """Too many requests, to OpenRouter or to the host."""

    code = "rate_limited"
    retryable_by_nature = True


class UpstreamUnavailable(OpenRouterError):
    """OpenRouter or the host failed."""

    code = "upstream_unavailable"
    retryable_by_nature = True


class EmptyAnswer(UpstreamUnavailable):
    """The model ended without saying anything. `partial.usage` tells what that cost."""

    code = "empty_answer"


class NoPicture(UpstreamUnavailable):
    """A picture was asked for, and none came. `partial.usage` tells what that cost."""

    code = "no_picture"


class ConnectionFailed(UpstreamUnavailable):
    """No connection, or it broke before the answer began."""

    code = "connection_failed"


class UpstreamTimeout(OpenRouterError):
    """A clock ran out. `phase` tells which; `upstream` is OpenRouter's or the host's own."""

    code = "upstream_timeout"
    retryable_by_nature = True

    def __init__(self, message: str, *, phase: TimeoutPhase = "upstream", **details: Any) -> None:
        # When the total is used up there is no time left to try again.
        super().__init__(message, **({"retryable": False} if phase == "total" else {}) | details)
        self.phase: TimeoutPhase = phase


class TruncatedStream(OpenRouterError):
    """The answer ended without a finish reason: it is cut, however complete it looks."""

    code = "truncated_stream"
    retryable_by_nature = True


class UnreadableAnswer(OpenRouterError):
    """What came is not an answer: a page of HTML, broken JSON, an endless line."""

    code = "unreadable_answer"
    retryable_by_nature = True


@dataclass(frozen=True, slots=True)
class Misfit:
    """Where an answer does not fit its schema: a JSON pointer into the answer, and why."""

    place: str
    message: str


class AnswerMisfit(OpenRouterError):
    """A whole answer that does not fit the schema it was asked for. `partial` is that answer, and was billed.

    `repair`: what to say to the same model so that it mends its answer; empty where that would be in vain.
    """

    code = "schema_not_satisfied"

    def __init__(
        self, answer: Completion, misfits: Sequence[Misfit], *, repair: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(
            "The answer does not fit the schema.",
            provider=answer.provider,
            model=answer.model,
            generation_id=answer.generation_id,
            partial=answer,
        )
        self.misfits = tuple(misfits)
        self.repair = tuple(repair)


class AttemptsSpent(OpenRouterError):
    """The turn's budget of calls is used up; nothing was asked."""

    code = "attempts_spent"
    worth_another_model = False
