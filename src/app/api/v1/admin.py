"""``/admin``: what operators see and decide. Everything here is written to the audit log."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from app.api.deps import Admin, Operator, Subscriptions
from app.api.schemas.admin import AccountDetailRead, AccountPageRead, AuditPageRead, OverridesSet, PlanSet
from app.api.schemas.common import Text
from app.api.schemas.subscriptions import SubscriptionRead

router = APIRouter(prefix="/admin", tags=["admin"])

PageSize = Annotated[int, Query(ge=1, le=100)]


@router.get("/users")
async def list_users(
    operator: Operator,
    admin: Admin,
    limit: PageSize = 20,
    cursor: UUID | None = None,
    email: Annotated[Text, Query(max_length=320)] = "",
) -> AccountPageRead:
    """Accounts, newest first, with plan and this period's usage."""
    return AccountPageRead.model_validate(await admin.list_users(operator, limit=limit, cursor=cursor, email=email))


@router.get("/users/{user_id}")
async def get_user(user_id: UUID, operator: Operator, admin: Admin) -> AccountDetailRead:
    """One account, with the limits in force and what was agreed."""
    return AccountDetailRead.model_validate(await admin.get_user(operator, user_id))


@router.put("/users/{user_id}/subscription")
async def set_plan(user_id: UUID, body: PlanSet, operator: Operator, subscriptions: Subscriptions) -> SubscriptionRead:
    """Put an account on a plan at once; confirms a requested upgrade."""
    state = await subscriptions.set_plan(operator, user_id, body.plan, version=body.version, reason=body.reason)
    return SubscriptionRead.model_validate(state)


@router.put("/users/{user_id}/overrides")
async def set_overrides(user_id: UUID, body: OverridesSet, operator: Operator, admin: Admin) -> AccountDetailRead:
    """Agree on limits and features in place of the plan's own."""
    limits = body.limits.model_dump(exclude_none=True)
    detail = await admin.set_overrides(operator, user_id, limits, reason=body.reason, expires_at=body.expires_at)
    return AccountDetailRead.model_validate(detail)


@router.delete("/users/{user_id}/overrides/{name}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_override(user_id: UUID, name: Text, operator: Operator, admin: Admin) -> None:
    """Let the plan's own limit hold again."""
    await admin.remove_override(operator, user_id, name)


@router.get("/audit")
async def list_audit(
    operator: Operator,
    admin: Admin,
    limit: PageSize = 50,
    cursor: UUID | None = None,
    user_id: UUID | None = None,
) -> AuditPageRead:
    """Who did what to whom, newest first."""
    return AuditPageRead.model_validate(await admin.list_audit(operator, limit=limit, cursor=cursor, user_id=user_id))
