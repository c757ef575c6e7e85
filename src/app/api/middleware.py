"""Around every request: an id that goes upstream and comes back, one log line, no stack trace for the caller.

The answer's headers also say where the caller's rate limit stands, whatever kind of answer it is.
"""

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.ids import new_id

log = structlog.get_logger("app.request")

REQUEST_ID_HEADER = "X-Request-ID"
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestContextMiddleware:
    """Plain ASGI, because a wrapping response class would double the cost of every streamed chunk."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})  # what `request.state` reads and writes
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                if standing := state.get("rate_limit"):
                    headers.update(standing.headers())
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request.crashed")
            if status is not None:
                raise  # the answer has begun: all that is left is to cut the connection
            await _internal_error(request_id)(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=_path(scope),
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else str(new_id())


def _path(scope: Scope) -> str:
    # Only what a route matched: anything else is a text that somebody typed.
    return str(scope["path"]) if "route" in scope else "(no route)"


def _internal_error(request_id: str) -> JSONResponse:
    detail = "Something went wrong on our side. Nothing was charged; try again, and name this request_id if it stays."
    return JSONResponse({"error": "internal_error", "detail": detail, "request_id": request_id}, status_code=500)
