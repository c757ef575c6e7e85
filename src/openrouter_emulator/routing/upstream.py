"""How a provider's failure looks when OpenRouter passes it on."""

from typing import Any

from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.http.errors import ApiError


def upstream_error(host: Host, status: int, text: str, **metadata: Any) -> ApiError:
    """`Provider returned error`, with the upstream's own words as JSON inside a string."""
    raw = f'{{"error":{{"message":"{text}","type":"{provider_code(status)}","code":{status}}}}}'
    inside = {"raw": raw, "provider_name": host.name, "is_byok": False, "error_type": error_type(status)} | metadata
    availability = None
    if status in (429, 503):
        code = "capacity_exhausted" if status == 429 else "temporarily_unavailable"
        availability = {"code": code, "retryable": True, "requested_models": [host.model.id]}
    return ApiError(status, "Provider returned error", metadata=inside, availability=availability)


def provider_code(status: int) -> str:
    return {429: "rate_limited", 503: "overloaded", 529: "overloaded", 504: "timeout", 408: "timeout"}.get(
        status, "upstream_error"
    )


def error_type(status: int) -> str:
    types = {400: "invalid_request", 403: "permission_denied", 404: "not_found", 408: "timeout", 504: "timeout"}
    types |= {429: "rate_limit_exceeded", 502: "provider_unavailable", 503: "provider_overloaded"}
    return types.get(status, "server" if status >= 500 else "unmapped")
