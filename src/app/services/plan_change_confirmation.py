"""The port through which somebody says yes to an upgrade: an operator today, a payment provider where one is set up."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from app.domain.plans import PlanTier


@dataclass(frozen=True, slots=True)
class RequestedUpgrade:
    """Which plan is wanted, and at what price a month in USD."""

    user_id: UUID
    plan: PlanTier
    version: int
    price_usd_per_month: Decimal


@dataclass(frozen=True, slots=True)
class NextStep:
    """Who confirms, and where the customer goes for it (``url``), if anywhere."""

    by: str
    url: str | None = None


class PlanChangeConfirmation(Protocol):
    """Told of each requested upgrade once it is stored, outside of any transaction; perhaps again for the same one.

    When it is confirmed, ``SubscriptionService.set_plan`` is called.
    """

    async def ask(self, upgrade: RequestedUpgrade) -> NextStep:
        """Begin the confirmation and say how it goes on."""
        ...


class OperatorConfirmation:
    """An operator sees the request in the list of accounts and sets the plan."""

    async def ask(self, upgrade: RequestedUpgrade) -> NextStep:
        """Nothing to begin: the operator comes by."""
        return NextStep(by="operator")
