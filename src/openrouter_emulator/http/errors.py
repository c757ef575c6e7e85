"""OpenRouter's error envelope: `{"error": {code, message, metadata?, availability?}, "user_id"}`."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from openrouter_emulator.http.wire import json_response

USER_ID = "user_2emulated0000000000000000"


class ConnectionReset(Exception):
    """The connection is to break before a single byte was answered."""


class ApiError(Exception):
    """A refusal; `status` is its `code`, and the HTTP status too unless `http_status` differs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        metadata: dict[str, Any] | None = None,
        availability: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.http_status = http_status or status
        self.message = message
        self.metadata = metadata
        self.availability = availability
        self.headers = headers or {}
        self.asked_model: str | None = None
        """The model whose host failed last, where any host was asked."""

    def body(self) -> dict[str, Any]:
        """`metadata` and `availability` are left out where the real service leaves them out."""
        error: dict[str, Any] = {"code": self.status, "message": self.message}
        if self.metadata is not None:
            error["metadata"] = self.metadata
        if self.availability is not None:
            error["availability"] = self.availability
        return {"error": error, "user_id": USER_ID}


async def answer_with_error(_request: Request, error: Exception) -> Response:
    """Exception handler: an `ApiError` becomes its envelope."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this class only
    return json_response(error.body(), status=error.http_status, headers=error.headers)
