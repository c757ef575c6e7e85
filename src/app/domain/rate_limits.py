"""How often: policies of so many requests in a window, and how one says where it stands."""

from dataclasses import dataclass
from math import ceil

from app.domain.plans import PlanLimits

MINUTE = 60
QUARTER_HOUR = 15 * 60
HOUR = 60 * 60

CUSTOM_REQUESTS_PER_MINUTE = 1_000
"""For plans whose rate is agreed with each customer, until one has been."""


def requests_per_minute(limits: PlanLimits) -> int:
    """How many requests that ask a model the plan allows in any 60 seconds."""
    return CUSTOM_REQUESTS_PER_MINUTE if limits.requests_per_minute is None else limits.requests_per_minute


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """At most ``limit`` within any ``window_seconds``; ``name`` tells clients which of our policies it is."""

    name: str
    limit: int
    window_seconds: int = MINUTE


@dataclass(frozen=True, slots=True)
class RateStanding:
    """What is left of a policy. ``reset_seconds``: until the oldest request in the window, if any, stops counting."""

    policy: RatePolicy
    remaining: int
    reset_seconds: float

    @property
    def retry_after(self) -> int:
        """Whole seconds after which a refused request fits, at least 1."""
        return max(1, ceil(self.reset_seconds))

    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers has it: quota ``q``, window ``w``, remaining ``r``, seconds ``t``."""
        name, policy = self.policy.name, self.policy
        return {
            "RateLimit-Policy": f'"{name}";q={policy.limit};w={policy.window_seconds}',
            "RateLimit": f'"{name}";r={self.remaining};t={ceil(self.reset_seconds)}',
        }
