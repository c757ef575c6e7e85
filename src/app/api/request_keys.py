"""The Idempotency-Key of requests that cost money, and the fingerprint of what is asked under it."""

import hashlib
from typing import Annotated

from fastapi import Header

from app.api.schemas.common import RequestBody
from app.services.chat_turn import RequestKey

IdempotencyKey = Annotated[str | None, Header(alias="idempotency-key", min_length=1, max_length=255)]


def request_key(key: str | None, what: str, body: RequestBody | None = None) -> RequestKey | None:
    """The key with a fingerprint of ``what`` is to be done and of the body; ``None`` without a key."""
    if not key:
        return None
    # How the answer is read does not change what is asked.
    asked = what + (body.model_dump_json(exclude={"stream"}) if body else "")
    return RequestKey(key, hashlib.sha256(asked.encode()).digest())
