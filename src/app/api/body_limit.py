"""A bound on what one request may send."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimitMiddleware:
    """Refuses a longer body when somebody begins to read it, or when its pieces add up to too much.

    FastAPI's own ``max_body_size`` answers some of these in plain text, outside our errors and without a request id.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, own_limits: Mapping[str, int]) -> None:
        """``own_limits``: by path, where more may come; who reads there knows better how much."""
        self._app = app
        self._max_bytes = max_bytes
        self._own_limits = own_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._own_limits.get(scope["path"], self._max_bytes)
        length = int(Headers(scope=scope).get("content-length", "0"))
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            _require_within_limit(length, most)
            message = await receive()
            received += len(message.get("body", b""))
            _require_within_limit(received, most)
            return message

        await self._app(scope, receive_within_limit, send)


def _require_within_limit(size: int, most: int) -> None:
    if size > most:
        raise HTTPException(413, f"The body has more than {most} bytes; send less at once.")
