"""Every route of the API."""

from fastapi import APIRouter

from app.api import health
from app.api.v1 import (
    admin,
    analytics,
    answers,
    attachments,
    auth,
    chat,
    conversations,
    images,
    models,
    presets,
    subscriptions,
)

router = APIRouter()
router.include_router(health.router)
for _module in (
    admin,
    analytics,
    answers,
    attachments,
    auth,
    chat,
    conversations,
    images,
    models,
    presets,
    subscriptions,
):
    router.include_router(_module.router, prefix="/api/v1")
