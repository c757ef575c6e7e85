"""How a subscription changes: up at once, down at the period's end. Functions of what its row says and of the time."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.domain.periods import period_containing
from app.domain.plans import PlanTier

_RANK = {plan: rank for rank, plan in enumerate(PlanTier)}


class SubscriptionStatus(StrEnum):
    """What is going to happen to a subscription by itself."""

    ACTIVE = "active"
    CHANGING = "changing"
    CANCELLING = "cancelling"


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """A plan as it was sold: people keep the version they bought until they are moved."""

    plan: PlanTier
    version: int


@dataclass(frozen=True, slots=True)
class DatedPlan:
    """A plan and an instant: when it takes effect (scheduled), or when it was asked for (requested)."""

    to: PlanVersion
    at: datetime

    @property
    def plan(self) -> PlanTier:
        """Which plan."""
        return self.to.plan

    @property
    def version(self) -> int:
        """In which version."""
        return self.to.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a subscription's row says. ``anchor_at`` never moves: a change of plan neither ends nor begins a period."""

    on: PlanVersion
    anchor_at: datetime
    scheduled: DatedPlan | None = None
    requested: DatedPlan | None = None
    cancel_reason: str | None = None

    @property
    def status(self) -> SubscriptionStatus:
        """Whether it runs on, moves to a smaller plan, or ends; an end is a move to the Free plan."""
        if self.scheduled is None:
            return SubscriptionStatus.ACTIVE
        ends = self.scheduled.plan is PlanTier.FREE
        return SubscriptionStatus.CANCELLING if ends else SubscriptionStatus.CHANGING

    def is_upgrade(self, plan: PlanTier) -> bool:
        """Whether ``plan`` is larger than the present one."""
        return _RANK[plan] > _RANK[self.on.plan]


def standing_at(standing: Standing, now: datetime) -> Standing:
    """The standing with what was scheduled in force, once its instant has come. No job has to write this down."""
    due = standing.scheduled
    if due is None or now < due.at:
        return standing
    return replace(standing, on=due.to, scheduled=None)


def schedule(standing: Standing, to: PlanVersion, *, now: datetime, reason: str | None = None) -> Standing:
    """Move to a smaller plan when the current period ends: what was paid for is kept until then."""
    end = period_containing(standing.anchor_at, now).end
    return replace(standing_at(standing, now), scheduled=DatedPlan(to, end), requested=None, cancel_reason=reason)


def request_upgrade(standing: Standing, to: PlanVersion, *, now: datetime) -> Standing:
    """Note that a larger plan is wanted. Nothing else changes before it is confirmed."""
    return replace(standing_at(standing, now), requested=DatedPlan(to, now))


def keep(standing: Standing, *, now: datetime) -> Standing:
    """Stay on the present plan: forget what is scheduled and what was asked for."""
    return replace(standing_at(standing, now), scheduled=None, requested=None, cancel_reason=None)


def put_on(standing: Standing, to: PlanVersion, *, now: datetime) -> Standing:
    """Be on a plan from now on. The period and what was used in it stay as they are."""
    return replace(keep(standing, now=now), on=to)


def as_record(standing: Standing) -> dict[str, Any]:
    """The standing as JSON, for the audit log."""
    return {
        "plan": standing.on.plan.value,
        "plan_version": standing.on.version,
        "status": standing.status.value,
        "scheduled": _dated(standing.scheduled),
        "requested": _dated(standing.requested),
        "cancel_reason": standing.cancel_reason,
    }


def _dated(change: DatedPlan | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {"plan": change.plan.value, "version": change.version, "at": change.at.isoformat()}
