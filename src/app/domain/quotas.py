"""What a month allows, what is used, what is held by running turns; and the refusal in words."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Meter(StrEnum):
    """What is counted against a plan."""

    MESSAGES = "messages"
    TOKENS = "tokens"
    IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Allowance:
    """One meter of one period: ``used`` is settled, ``reserved`` is held by running turns."""

    meter: Meter
    limit: int
    used: int
    reserved: int = 0

    @property
    def remaining(self) -> int:
        """What is left after what is used; running turns are not deducted, never below zero."""
        return max(0, self.limit - self.used)

    def admits(self, amount: int) -> bool:
        """Whether ``amount`` more may be reserved now."""
        return self.used + self.reserved + amount <= self.limit

    @property
    def refusal(self) -> str:
        """The sentence people read when the allowance is spent, e.g. ``Monthly message limit reached (100)``."""
        return f"Monthly {self.meter.value.removesuffix('s')} limit reached ({self.limit})"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Amounts a turn holds until it is settled."""

    messages: int = 0
    tokens: int = 0
    images: int = 0
    cost_usd: Decimal = Decimal(0)
