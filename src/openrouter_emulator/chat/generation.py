"""One generation: which host wrote what for whom, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.catalogue.pricing import ZERO, Cost, TokenCounts, rounded
from openrouter_emulator.inputs.parts import MediaCounts
from openrouter_emulator.prompt_cache.counts import CacheCounts
from openrouter_emulator.prompt_cache.rules import rule_for

if TYPE_CHECKING:
    from openrouter_emulator.routing.route import Attempt


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model writes, already cut at the output limit."""

    tokens: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    reasoning_shown: bool = True
    reasoning_style: str | None = None
    """Which kind of `reasoning_details` goes with it; None: that of the model's author."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    images: tuple[str, ...] = ()
    """Data URLs."""
    image_tokens: int = 0
    annotations: tuple[dict[str, Any], ...] | None = None
    refusal: str | None = None
    finish_reason: str | None = "stop"
    native_finish_reason: str | None = None
    """None: the author's own word for `finish_reason`."""

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def call_tokens(self) -> int:
        """Tool calls are billed by the length of their arguments."""
        return sum(8 + len(call["function"]["arguments"]) // 4 for call in self.tool_calls)

    @property
    def completion_tokens(self) -> int:
        return len(self.tokens) + len(self.reasoning) + self.image_tokens + self.call_tokens


@dataclass(frozen=True, slots=True)
class Fees:
    """What side services cost, in USD; charged even when the model then fails."""

    total: Decimal = ZERO
    search_cost: Decimal = ZERO
    """The part of it that searching cost."""
    searches: int = 0
    search_results: int = 0
    search_engine: str | None = None
    found_tokens: int = 0
    """What was found, as tokens of the prompt."""
    file_tokens: int = 0
    """Documents the model reads itself, as tokens of the prompt."""
    pipeline: tuple[dict[str, Any], ...] = ()
    """What ran beside the model, and what it cost."""


@dataclass(slots=True)
class Generation:
    """Settled exactly once: when the answer is complete, when it breaks, or when the client has left."""

    id: str
    created_at: float
    host: Host
    prompt_tokens: int
    answer: Answer
    streamed: bool
    media: MediaCounts = field(default_factory=MediaCounts)
    cache: CacheCounts = field(default_factory=CacheCounts)
    fees: Fees = field(default_factory=Fees)
    user: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    referer: str | None = None
    user_agent: str | None = None
    router: str | None = None
    attempts: Sequence["Attempt"] = ()
    written_tokens: int = 0
    """Completion tokens written so far while streaming."""
    cancelled: bool = False
    failed: bool = False
    """The host broke down while writing: nothing is charged but fees."""
    byok: bool = False
    insured: bool = True
    """Whether an answer without a single token is free of charge."""
    served_model: str | None = None
    """The id the answer claims; None: the model's own."""
    finished_at: float | None = None
    counts: TokenCounts | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def model(self) -> Model:
        return self.host.model

    @property
    def billed(self) -> Decimal:
        """USD charged to the account; the caller's own key is charged by the provider instead."""
        return rounded(self.cost.services if self.byok else self.cost.total)

    @property
    def cache_discount(self) -> Decimal:
        """USD saved by reads; negative where writes cost more than reads saved. What is not charged saves nothing."""
        if self.counts is None or self._is_free(self.counts.completion):
            return ZERO
        plain = TokenCounts(prompt=self.counts.prompt)
        return rounded(self.host.prices.cost(plain).prompt - self.cost.prompt)

    def settle(self, *, now: float, completion_tokens: int | None = None) -> None:
        """Fix counts and cost; fewer completion tokens than the answer has means it was stopped early."""
        whole = self.answer.completion_tokens
        written = whole if completion_tokens is None else completion_tokens
        self.finished_at = now
        self.counts = TokenCounts(
            prompt=self.prompt_tokens,
            completion=written,
            cached=self.cache.cached,
            written=self.cache.written,
            written_1h=self.cache.written_1h,
            reasoning=min(len(self.answer.reasoning), written),
            image=self.answer.image_tokens if written == whole else 0,
            audio=self.media.audio_tokens,
        )
        self.cost = Cost(services=self.fees.total) if self._is_free(written) else self._full_cost(self.counts)

    def _is_free(self, written: int) -> bool:
        """Nothing but fees is charged for an answer that failed or never came."""
        return self.insured and (self.failed or written == 0)

    def _full_cost(self, counts: TokenCounts) -> Cost:
        storage = rule_for(self.model.id).write_adds_to_prompt
        return self.host.prices.cost(counts, services=self.fees.total, writes_are_storage=storage)

    def forget_text(self) -> None:
        """Keep what the books need of an answer that was sent; its text and pictures can be large."""
        answer = self.answer
        self.answer = Answer(
            images=("",) * len(answer.images),
            finish_reason=answer.finish_reason,
            native_finish_reason=answer.native_finish_reason,
        )

    def bill_row(self) -> dict[str, Any]:
        """Money as strings, so that nothing is lost on the way."""
        counts = self.counts or TokenCounts()
        return {
            "generation_id": self.id,
            "created_at": self.created_at,
            "model": self.served_model or self.model.id,
            "provider": self.host.name,
            "streamed": self.streamed,
            "cancelled": self.cancelled,
            "failed": self.failed,
            "user": self.user,
            "session_id": self.session_id,
            "prompt_tokens": counts.prompt,
            "completion_tokens": counts.completion,
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.written + counts.written_1h,
            "cost": format(self.billed, "f"),
        }
