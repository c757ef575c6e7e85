"""Who did something, and the names of what the audit log knows."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class ActorKind(StrEnum):
    """In which capacity somebody acts."""

    USER = "user"
    OPERATOR = "operator"
    CLI = "cli"
    PAYMENT = "payment"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts; ``user_id`` is the acting account where there is one, ``request_id`` the HTTP request."""

    kind: ActorKind
    user_id: UUID | None = None
    request_id: str | None = None


class Action(StrEnum):
    """What can stand in the audit log."""

    CANCEL = "subscription.cancel"
    RESUME = "subscription.resume"
    SCHEDULE = "subscription.schedule"
    REQUEST = "subscription.request"
    SET_PLAN = "subscription.set_plan"
    SET_OVERRIDES = "overrides.set"
    REMOVE_OVERRIDE = "overrides.remove"
    LIST_USERS = "users.list"
    READ_USER = "users.read"
    READ_TOP_USERS = "analytics.top_users"
    LIST_AUDIT = "audit.list"
    READ_PRESET = "presets.read"
