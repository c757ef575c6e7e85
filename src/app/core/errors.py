"""Refusals that are expected: each knows its HTTP status and its machine code."""

from collections.abc import Mapping
from typing import Any, ClassVar


class AppError(Exception):
    """A refusal the caller can act on; one handler turns it into ``{"error": code, "detail": text, ...fields}``.

    ``detail`` says what happened and what to do. ``fields`` are machine-readable facts laid beside it.
    """

    status_code: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.fields = fields

    def body(self) -> dict[str, Any]:
        """The error as every client sees it."""
        return {"error": self.code, "detail": self.detail, **self.fields}


class NotFound(AppError):
    """It does not exist, or belongs to somebody else: the two are told apart by nobody."""

    status_code = 404
    code = "not_found"


class InvalidField(AppError):
    """A well-formed request whose field holds something this service cannot take."""

    status_code = 422
    code = "validation_error"

    def __init__(self, field: str, message: str, **fields: Any) -> None:
        super().__init__(f"{field}: {message}", fields=[{"field": field, "message": message}], **fields)


class Conflict(AppError):
    """What was asked for collides with what already stands."""

    status_code = 409
    code = "conflict"


class Unauthenticated(AppError):
    """No valid credentials: log in (again)."""

    status_code = 401
    code = "unauthenticated"

    def __init__(self, detail: str, **fields: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **fields)


class AccountGone(Unauthenticated):
    """The token is right, but not for anybody any more."""

    def __init__(self) -> None:
        super().__init__("This account no longer exists or is switched off.")


class InvalidCredentials(Unauthenticated):
    """E-mail and password do not belong together; which of the two is wrong is not said."""

    code = "invalid_credentials"


class Forbidden(AppError):
    """Known, but not allowed."""

    status_code = 403
    code = "forbidden"


class QuotaExceeded(AppError):
    """The plan's monthly allowance would be passed."""

    status_code = 400
    code = "quota_exceeded"


class TooManyRequests(AppError):
    """More than is allowed at once or within a time; waiting helps."""

    status_code = 429
    code = "rate_limited"


class ServiceUnavailable(AppError):
    """The server is stopping or not ready; try again in a moment."""

    status_code = 503
    code = "service_unavailable"
