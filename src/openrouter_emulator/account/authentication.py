"""Who is calling: any bearer key, or only the listed ones."""

from collections.abc import Collection

from starlette.requests import Request

from openrouter_emulator.http.errors import ApiError


def require_key(request: Request, accepted: Collection[str]) -> str:
    """The caller's key; 401 when it is missing or not among `accepted` (empty: all are)."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise ApiError(401, "Missing Authentication header")
    if accepted and key not in accepted:
        raise ApiError(401, "User not found.")
    return key
