"""Puts the house together: `uvicorn app.main:app`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app.api.body_limit import BodyLimitMiddleware
from app.api.errors import install_error_handlers
from app.api.middleware import REQUEST_ID_HEADER, RequestContextMiddleware
from app.api.router import router
from app.core.config import AppEnv, ConfigurationError, Settings
from app.core.logging import configure_logging
from app.core.signals import on_ending
from app.domain.attachment_limits import LARGEST_UPLOAD
from app.services.assembly import Services

log = structlog.get_logger(__name__)

FORM_BYTES = 65_536
"""What a form holds around its file."""


def create_app(services: Services | None = None) -> FastAPI:
    """The ASGI application over ``services``; over the ready-made ones when none are given."""
    services = services or Services.default()
    settings = services.settings
    app = FastAPIOffline(
        title="WisQu",
        version=version("wisqu"),
        description="An Islamic question-and-answer chatbot on OpenRouter. Events of a stream: docs/api.md.",
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(services),
    )
    app.state.services = services
    app.include_router(router)
    install_error_handlers(app)
    uploads = {"/api/v1/attachments": max(settings.max_body_bytes, LARGEST_UPLOAD + FORM_BYTES)}
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes, own_limits=uploads)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[REQUEST_ID_HEADER, "RateLimit", "RateLimit-Policy", "Retry-After"],
        )
    app.add_middleware(RequestContextMiddleware)
    return app


def _lifespan(services: Services) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        settings = services.settings
        configure_logging(level=settings.log_level, style=settings.log_format)
        _warn_about_development(settings)
        background = [
            asyncio.create_task(services.openrouter.keep_catalog_fresh(), name="model catalogue"),
            asyncio.create_task(services.reconciliation.run_forever(), name="reconciliation"),
            asyncio.create_task(services.cache_exchange.start(), name="cache exchange"),
            asyncio.create_task(services.file_collector.run_forever(), name="file collector"),
        ]
        if services.cache_keeper.is_on:
            background.append(asyncio.create_task(services.cache_keeper.run_forever(), name="cache keeper"))
        # A server that is told to end waits for its connections first, and they for their answers.
        with on_ending(services.begin_draining):
            yield
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await services.aclose()

    return lifespan


def _warn_about_development(settings: Settings) -> None:
    if settings.app_env is AppEnv.PRODUCTION:
        return
    if settings.jwt_secret is None:
        settings.require_jwt_secret()
        log.warning("jwt_secret.made_here", file=str(settings.jwt_secret_file), hint="set JWT_SECRET in production")
    if settings.openrouter_api_key is None:
        log.warning("openrouter.no_key", hint="set OPENROUTER_API_KEY, or use `make run` for the emulator")


def _create_configured_app() -> FastAPI:
    try:
        return create_app()
    except ConfigurationError as error:
        sys.exit(str(error))


app = _create_configured_app()
