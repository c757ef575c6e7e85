"""Bytes inside a request: data URLs and plain base64, checked against the type they claim."""

import base64
import re
from functools import lru_cache

from openrouter_emulator.http.errors import ApiError

_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.ASCII)


def read_data_url(url: str, *, error_type: str) -> tuple[str, bytes] | None:
    """Media type and bytes; None for an https URL, which is for the host to fetch. Anything else is a 400."""
    if url.startswith("https://"):
        return None
    head = _DATA_URL.match(url[:100])
    if head is None:
        raise unreadable("Expected an https URL or a base64 data URL.", error_type)
    return head[1], decode(url[head.end() :], error_type=error_type)


def decode(text: str, *, error_type: str) -> bytes:
    """Strict base64 that is not empty, or a 400."""
    content = _decoded(text)
    if not content:
        raise unreadable("The base64 data could not be decoded.", error_type)
    return content


def unreadable(message: str, error_type: str) -> ApiError:
    return ApiError(400, message, metadata={"error_type": error_type, "provider_name": None})


@lru_cache(maxsize=4)
def _decoded(text: str) -> bytes | None:
    """One part is looked at several times for one request; only the newest few are kept."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None
