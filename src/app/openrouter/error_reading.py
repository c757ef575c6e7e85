"""From OpenRouter's error object to the error that it means."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from app.openrouter import errors
from app.openrouter.errors import OpenRouterError
from app.openrouter.reading import as_decimal, as_flag, as_map, as_maps, as_name, as_text, as_texts

_BY_TYPE: Mapping[str, type[OpenRouterError]] = {
    "context_length_exceeded": errors.ContextLengthExceeded,
    "token_limit_exceeded": errors.ContextLengthExceeded,
    "string_too_long": errors.ContextLengthExceeded,
    "content_policy_violation": errors.Moderated,
    "refusal": errors.Moderated,
    "authentication": errors.AuthenticationFailed,
    "payment_required": errors.PaymentRequired,
    "not_found": errors.ModelNotFound,
    "rate_limit_exceeded": errors.RateLimited,
    "rate_limited": errors.RateLimited,
    "server": errors.UpstreamUnavailable,
    "server_error": errors.UpstreamUnavailable,
    "provider_unavailable": errors.UpstreamUnavailable,
    "provider_overloaded": errors.UpstreamUnavailable,
    "timeout": errors.UpstreamTimeout,
}
_BY_AVAILABILITY: Mapping[str, type[OpenRouterError]] = {
    "model_not_found": errors.ModelNotFound,
    "wrong_endpoint": errors.BadRequest,
    "no_endpoints": errors.ModelNotFound,
    "model_deprecated": errors.ModelNotFound,
    "model_unavailable_upstream": errors.ModelNotFound,
    "privacy_restricted": errors.ModelNotFound,
    "constraint_filtered": errors.ModelNotFound,
    "free_variant_ended": errors.ModelNotFound,
    "region_restricted": errors.Forbidden,
    "capacity_exhausted": errors.RateLimited,
    "temporarily_unavailable": errors.UpstreamUnavailable,
}
_BY_STATUS: Mapping[int, type[OpenRouterError]] = {
    401: errors.AuthenticationFailed,
    402: errors.PaymentRequired,
    403: errors.Forbidden,
    404: errors.ModelNotFound,
    408: errors.UpstreamTimeout,
    429: errors.RateLimited,
    504: errors.UpstreamTimeout,
    524: errors.UpstreamTimeout,
}
_CONTEXT_LENGTH = re.compile(r"context.length|context.window|prompt is too long|too many (input )?tokens", re.I)
_UNKNOWN_MODEL = re.compile(r"not a valid model|model .*(does not exist|not found)", re.I)
_SPENDING_LIMIT = re.compile(r"key limit exceeded|budget .*exceeded|insufficient credits", re.I)
_MODERATION = re.compile(r"moderation|flagged|content.policy", re.I)
_INNER_CODE = re.compile(r'"(?:code|status)"\s*:\s*"?(4\d\d)\b')
_REQUEST_CODES = frozenset({400, 404, 413, 422})


def read_error(
    error: Any,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: datetime | None = None,
    provider: str | None = None,
    model: str | None = None,
    generation_id: str | None = None,
) -> OpenRouterError:
    """Read the value of an `error` member, wherever it stood.

    `status` is the HTTP status, used when the object has no code of its own; `now` makes seconds of points in time.
    """
    body = as_map(error)
    metadata, availability = as_map(body.get("metadata")), as_map(body.get("availability"))
    upstream_message = dig_message(metadata.get("raw"))
    message = as_text(body.get("message")) or as_text(error) or upstream_message or "OpenRouter sent an error."
    code = _status_code(body, status)
    kind = _kind(body, code, f"{message}\n{metadata.get('raw') or ''}")
    all_headers = {**(headers or {}), **as_map(metadata.get("headers"))}
    return kind(
        message,
        status=code,
        provider=as_name(metadata.get("provider_name")) or provider,
        model=model,
        generation_id=generation_id,
        upstream_message=upstream_message,
        retryable=as_flag(availability.get("retryable")),
        retry_after=_retry_after(availability, all_headers, now or datetime.now(UTC)),
        previous_errors=as_maps(metadata.get("previous_errors")),
        fallback_models=as_texts(availability.get("fallback_models")),
        file_annotations=as_maps(metadata.get("file_annotations")),
    )


def dig_message(raw: Any) -> str | None:
    """The upstream's own sentence out of `metadata.raw`: often JSON inside a string, in the upstream's own shape."""
    if isinstance(raw, str):
        try:
            return dig_message(msgspec.json.decode(raw)) or raw
        except msgspec.DecodeError:
            return as_text(raw.strip())
    inner = raw if isinstance(raw, list) else [as_map(raw).get(key) for key in ("message", "error", "errors", "detail")]
    return next((found for each in inner if each and (found := dig_message(each))), None)


def _kind(body: Mapping[str, Any], code: int | None, text: str) -> type[OpenRouterError]:
    metadata, availability = as_map(body.get("metadata")), as_map(body.get("availability"))
    names = (metadata.get("error_type"), body.get("error_type"), body.get("code"))
    typed = next((_BY_TYPE[name] for name in names if isinstance(name, str) and name in _BY_TYPE), None)
    return (
        _kind_by_text(metadata, code, text)
        or _BY_AVAILABILITY.get(str(availability.get("code")))
        or typed
        or _kind_by_status(code)
    )


def _kind_by_text(metadata: Mapping[str, Any], code: int | None, text: str) -> type[OpenRouterError] | None:
    """What only the words tell, or tell better than the code."""
    if code == 401 and metadata.get("provider_name"):
        return errors.Forbidden  # the host refused OpenRouter's key, or the one left with it: ours is in order
    if code == 403 and _SPENDING_LIMIT.search(text):
        return errors.PaymentRequired
    if code in (400, 403) and (metadata.get("reasons") or metadata.get("flagged_input") or _MODERATION.search(text)):
        return errors.Moderated
    if code == 400 and _UNKNOWN_MODEL.search(text):
        return errors.ModelNotFound
    inner = _INNER_CODE.search(text) if code is not None and code >= 500 else None
    if inner and int(inner[1]) == 429:
        return errors.RateLimited
    refused = code == 400 or (inner and int(inner[1]) in _REQUEST_CODES)
    if refused and _CONTEXT_LENGTH.search(text):
        return errors.ContextLengthExceeded
    return errors.BadRequest if inner and refused else None


def _kind_by_status(code: int | None) -> type[OpenRouterError]:
    if code is None or code >= 500:
        return _BY_STATUS.get(code or 500, errors.UpstreamUnavailable)
    return _BY_STATUS.get(code, errors.BadRequest)


def _status_code(body: Mapping[str, Any], status: int | None) -> int | None:
    for value in (body.get("code"), body.get("http_status"), status):
        number = as_decimal(value)
        if number is not None and 400 <= number <= 599:
            return int(number)
    return None


def _retry_after(availability: Mapping[str, Any], headers: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds to wait: OpenRouter's word first, then `Retry-After`, then the reset of the rate limit (epoch ms)."""
    said = as_decimal(availability.get("retry_after"))
    if said is not None:
        return max(0.0, float(said))
    lowered = {name.lower(): str(value) for name, value in headers.items()}
    after = lowered.get("retry-after")
    seconds = as_decimal(after)
    if seconds is not None:
        return max(0.0, float(seconds))
    moment = _moment(after) or _epoch(lowered.get("x-ratelimit-reset"))
    return max(0.0, (moment - now).total_seconds()) if moment else None


def _moment(http_date: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(http_date) if http_date else None
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None


def _epoch(milliseconds: str | None) -> datetime | None:
    number = as_decimal(milliseconds)
    try:
        return datetime.fromtimestamp(float(number) / 1000, UTC) if number is not None else None
    except (OverflowError, ValueError, OSError):
        return None
