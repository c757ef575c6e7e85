"""``/health``: is the process alive, and can it serve."""

import structlog
from fastapi import APIRouter

from app.api.deps import AppServices
from app.core.errors import ServiceUnavailable

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/health", tags=["health"])


class NotReady(ServiceUnavailable):
    """Requests would fail now; the detail says what to do."""

    code = "not_ready"


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(services: AppServices) -> dict[str, str]:
    """The database answers, is migrated and holds the plans; the server is not on its way down."""
    services.hub.refuse_when_draining()
    try:
        plans = await services.subscriptions.list_plans()
    except Exception as error:  # whatever the driver raises: not ready is the answer
        log.warning("health.not_ready", kind=type(error).__name__)
        raise NotReady("The database does not answer or is not migrated: run `alembic upgrade head`.") from None
    if not plans:
        raise NotReady("The database holds no plans: run `python scripts/seed_plan_limits.py`.")
    return {"status": "ok"}
