"""Puts the emulator together as an ASGI application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from openrouter_emulator import control, media
from openrouter_emulator.account import endpoints as account
from openrouter_emulator.call import Handler, endpoint
from openrouter_emulator.catalogue import endpoints as catalogue
from openrouter_emulator.catalogue import host_endpoints as hosts
from openrouter_emulator.chat.endpoint import create_chat_completion
from openrouter_emulator.http.errors import ApiError, answer_with_error
from openrouter_emulator.http.recorder import CONTROL_PREFIX, RequestRecorder
from openrouter_emulator.images import models_endpoint as image_models
from openrouter_emulator.images.endpoint import create_images
from openrouter_emulator.settings import EmulatorSettings
from openrouter_emulator.state import Emulator

API_PREFIX = "/api/v1"
MODEL = "/{author}/{slug}"


def _get(path: str, handler: Handler, *, public: bool = False) -> Route:
    return Route(path, endpoint(handler, public=public))


def _post(path: str, handler: Handler) -> Route:
    return Route(path, endpoint(handler), methods=["POST"])


API_ROUTES = [
    _post("/chat/completions", create_chat_completion),
    _post("/images", create_images),
    _get("/images/models", image_models.list_image_models, public=True),
    _get(f"/images/models{MODEL}/endpoints", image_models.list_image_endpoints, public=True),
    _get("/models", catalogue.list_models, public=True),
    _get("/models/count", catalogue.count_models, public=True),
    _get("/models/user", catalogue.list_models),
    _get(f"/models{MODEL}/endpoints", hosts.list_endpoints, public=True),
    _get(f"/model{MODEL}", catalogue.show_model, public=True),
    _get("/endpoints/zdr", hosts.list_zero_retention, public=True),
    _get("/providers", hosts.list_providers, public=True),
    _post("/videos", media.create_video),
    _get("/videos/{id}", media.poll_video),
    _post("/audio/transcriptions", media.transcribe),
    _post("/audio/speech", media.speak),
    _post("/rerank", media.rerank),
    _get("/key", account.show_key),
    _get("/credits", account.show_credits),
    _get("/generation", account.show_generation),
]
CONTROL_ROUTES = [
    Route("/requests", control.list_requests),
    Route("/requests", control.clear_requests, methods=["DELETE"]),
    Route("/settings", control.show_settings),
    Route("/settings", control.change_settings, methods=["PUT"]),
    Route("/bill", control.show_bill),
    Route("/bill", control.clear_bill, methods=["DELETE"]),
    Route("/parses", control.show_parses),
    Route("/faults", control.list_faults),
    Route("/faults", control.add_fault, methods=["POST"]),
    Route("/faults", control.remove_faults, methods=["DELETE"]),
    Route("/faults/catalogue", control.list_known_faults),
    Route("/clock", control.show_clock),
    Route("/clock", control.advance_clock, methods=["POST"]),
    Route("/hosts", control.show_hosts),
    Route("/hosts", control.change_hosts, methods=["PUT"]),
    Route("/reset", control.reset, methods=["POST"]),
]


def create_emulator(settings: EmulatorSettings | None = None) -> Starlette:
    """A fresh emulator; its state is `app.state.emulator`."""
    emulator = Emulator(settings or EmulatorSettings())
    app = Starlette(
        routes=[Mount(API_PREFIX, routes=API_ROUTES), Mount(CONTROL_PREFIX, routes=CONTROL_ROUTES)],
        middleware=[Middleware(RequestRecorder, log=emulator.requests)],
        exception_handlers={ApiError: answer_with_error, HTTPException: _answer_unrouted, Exception: _answer_bug},
    )
    app.state.emulator = emulator
    return app


async def _answer_unrouted(request: Request, error: Exception) -> Response:
    """Unknown paths and methods in the envelope of every other error."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    return await answer_with_error(request, ApiError(error.status_code, error.detail))


async def _answer_bug(request: Request, _error: Exception) -> Response:
    """A defect of the emulator itself: the traceback goes to stderr."""
    return await answer_with_error(request, ApiError(500, "Internal Server Error"))
