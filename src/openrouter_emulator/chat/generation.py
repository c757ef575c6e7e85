"""One generation: which model wrote what for whom, and what it cost."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.catalogue.pricing import Cost, TokenCounts, rounded


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model writes, already cut at the output limit."""

    tokens: tuple[str, ...]
    finish_reason: str

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(slots=True)
class Generation:
    """Settled exactly once: when the answer is complete, or when the client has left."""

    id: str
    created_at: float
    model: Model
    provider: str
    prompt_tokens: int
    answer: Answer
    streamed: bool
    user: str | None = None
    session_id: str | None = None
    cancelled: bool = False
    counts: TokenCounts | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def billed(self) -> Decimal:
        """USD charged to the account."""
        return rounded(self.cost.total)

    def settle(self, *, completion_tokens: int | None = None) -> None:
        """Fix counts and cost; fewer completion tokens than the answer has means it was stopped early."""
        written = len(self.answer.tokens) if completion_tokens is None else completion_tokens
        self.counts = TokenCounts(prompt=self.prompt_tokens, completion=written)
        self.cost = self.model.prices.cost(self.counts)

    def bill_row(self) -> dict[str, Any]:
        """Money as strings, so that nothing is lost on the way."""
        counts = self.counts or TokenCounts()
        return {
            "generation_id": self.id,
            "created_at": self.created_at,
            "model": self.model.id,
            "provider": self.provider,
            "streamed": self.streamed,
            "cancelled": self.cancelled,
            "user": self.user,
            "session_id": self.session_id,
            "prompt_tokens": counts.prompt,
            "completion_tokens": counts.completion,
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.written + counts.written_1h,
            "cost": format(self.billed, "f"),
        }
