"""What one customer may do at an instant: the plan in force, with what was agreed in its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.domain.lifecycle import PlanVersion, Standing, standing_at
from app.domain.overrides import Override, apply_overrides
from app.domain.plans import PlanLimits


@dataclass(frozen=True, slots=True)
class Terms:
    """A subscription, the plan versions it names, and every override, expired ones too."""

    standing: Standing
    sold: Mapping[PlanVersion, PlanLimits]
    overrides: tuple[Override, ...] = ()

    def plan_at(self, now: datetime) -> PlanLimits:
        """The plan in force, as it was sold."""
        return self.sold[standing_at(self.standing, now).on]

    def limits_at(self, now: datetime) -> PlanLimits:
        """The limits in force, with the overrides that have not expired."""
        return apply_overrides(self.plan_at(now), self.overrides, now)

    def active_overrides(self, now: datetime) -> tuple[Override, ...]:
        """What was agreed and still holds."""
        return tuple(each for each in self.overrides if each.is_active(now))
