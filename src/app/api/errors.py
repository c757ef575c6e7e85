"""Turns refusals into answers of one shape: ``{"error": code, "detail": text}`` plus fields where they help."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.core.errors import AppError

_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}


def install_error_handlers(app: FastAPI) -> None:
    """Answer every expected error in the one shape; what is unexpected is the middleware's."""
    app.add_exception_handler(AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_app_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)  # noqa: S101  (registered for this class)
    return JSONResponse(error.body(), status_code=error.status_code, headers=error.headers)


async def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return _answer(400, "invalid_json", "The body is not valid JSON.")
    # Only the place and the message: the input itself may be a password or a person's question.
    fields = [{"field": _field(problem["loc"]), "message": _message(problem)} for problem in problems]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in fields)
    return _answer(422, "validation_error", detail, fields=fields)


async def _on_http_exception(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _CODES.get(error.status_code, HTTPStatus(error.status_code).name.lower())
    detail = error.detail if isinstance(error.detail, str) else HTTPStatus(error.status_code).phrase
    return _answer(error.status_code, code, detail, headers=error.headers)


def _answer(
    status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **fields: Any
) -> JSONResponse:
    return JSONResponse({"error": code, "detail": detail, **fields}, status_code=status, headers=headers)


def _field(location: Sequence[int | str]) -> str:
    inner = location[1:] if location and location[0] in ("body", "query", "path", "header") else location
    named = ".".join(str(part) for part in inner) or "body"
    return named.encode(errors="replace").decode()  # a field of a body may be called by half a pair of surrogates


def _message(problem: Mapping[str, Any]) -> str:
    return str(problem["msg"]).removeprefix("Value error, ")
