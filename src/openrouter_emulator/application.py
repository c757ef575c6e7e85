"""Puts the emulator together as an ASGI application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from openrouter_emulator import control
from openrouter_emulator.catalogue import endpoints as catalogue
from openrouter_emulator.chat import endpoint as chat
from openrouter_emulator.http.errors import ApiError, answer_with_error
from openrouter_emulator.http.recorder import CONTROL_PREFIX, RequestRecorder
from openrouter_emulator.settings import EmulatorSettings
from openrouter_emulator.state import Emulator

API_PREFIX = "/api/v1"

API_ROUTES = [
    Route("/chat/completions", chat.create_chat_completion, methods=["POST"]),
    Route("/models", catalogue.list_models),
    Route("/models/count", catalogue.count_models),
]
CONTROL_ROUTES = [
    Route("/requests", control.list_requests),
    Route("/requests", control.clear_requests, methods=["DELETE"]),
    Route("/settings", control.show_settings),
    Route("/settings", control.change_settings, methods=["PUT"]),
    Route("/bill", control.show_bill),
    Route("/bill", control.clear_bill, methods=["DELETE"]),
]


def create_emulator(settings: EmulatorSettings | None = None) -> Starlette:
    """A fresh emulator; its state is `app.state.emulator`."""
    emulator = Emulator(settings or EmulatorSettings())
    app = Starlette(
        routes=[Mount(API_PREFIX, routes=API_ROUTES), Mount(CONTROL_PREFIX, routes=CONTROL_ROUTES)],
        middleware=[Middleware(RequestRecorder, log=emulator.requests)],
        exception_handlers={ApiError: answer_with_error, HTTPException: _answer_unrouted},
    )
    app.state.emulator = emulator
    return app


async def _answer_unrouted(request: Request, error: Exception) -> Response:
    """Unknown paths and methods in the envelope of every other error."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    return await answer_with_error(request, ApiError(error.status_code, error.detail))
