"""JSON on the wire: Decimals are written as numbers, bodies are read into plain values."""

from typing import Any

import msgspec
from starlette.responses import Response

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: Any) -> bytes:
    """Compact JSON, the keys in the order given."""
    return _encoder.encode(value)


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), status_code=status, headers=headers, media_type="application/json")
