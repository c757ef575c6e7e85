"""Taking values out of OpenRouter's JSON, where any field may be absent, null or of another type."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from app.openrouter.types import Usage

_exact = msgspec.json.Decoder(float_hook=Decimal)
"""Numbers with a point or an exponent become Decimal straight from their text, without passing through float."""


MOST_NAME = 100
MOST_REASON = 40
MOST_ID = 200
"""Characters."""


def as_text(value: Any) -> str | None:
    """A string with something in it, else None."""
    return value if isinstance(value, str) and value else None


def as_name(value: Any, most: int = MOST_NAME) -> str | None:
    """Text that can stand in a column, a log line and a label of a metric: without control signs, cut to `most`."""
    if not isinstance(value, str):
        return None
    name = value if value.isprintable() else "".join(each for each in value if each.isprintable())
    return name[:most] or None


def as_id(value: Any) -> str | None:
    """What something is asked for by: as it is or not at all, since a cut one would be another's."""
    return value if value is not None and as_name(value, MOST_ID) == value else None


def as_map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_maps(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; whatever else is there is left out."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def as_texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def as_count(value: Any) -> int | None:
    """A whole number, not negative, also when written as `12.0` or `"12"`."""
    number = as_decimal(value)
    return int(number) if number is not None and 0 <= number < 2**63 else None


def as_decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | str | float | Decimal):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def as_charge(value: Any) -> Decimal | None:
    """USD that were charged; below zero is not a charge, and better unknown than a gift."""
    cost = as_decimal(value)
    return cost if cost is not None and cost >= 0 else None


def as_flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def read_exact(raw: bytes | msgspec.Raw) -> Any:
    """JSON with exact decimals."""
    return _exact.decode(raw)


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """Usage from the text of its object; None when there is none."""
    usage = as_map(read_exact(raw)) if bytes(raw) else {}
    if not usage:
        return None
    prompt = as_map(usage.get("prompt_tokens_details"))
    completion = as_map(usage.get("completion_tokens_details"))
    searching = as_map(usage.get("server_tool_use_details")) or as_map(usage.get("server_tool_use"))
    cached, written = as_count(prompt.get("cached_tokens")), as_count(prompt.get("cache_write_tokens"))
    return Usage(
        prompt_tokens=_at_least(as_count(usage.get("prompt_tokens")), (cached or 0) + (written or 0)),
        completion_tokens=as_count(usage.get("completion_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=as_count(completion.get("reasoning_tokens")),
        audio_tokens=_sum(as_count(prompt.get("audio_tokens")), as_count(completion.get("audio_tokens"))),
        image_tokens=as_count(completion.get("image_tokens")),
        cost=as_charge(usage.get("cost")),
        upstream_inference_cost=as_charge(as_map(usage.get("cost_details")).get("upstream_inference_cost")),
        is_byok=as_flag(usage.get("is_byok")),
        searches=as_count(searching.get("web_search_requests")),
        search_cost=as_charge(as_map(usage.get("cost_details")).get("server_tool_cost")),
    )


def _at_least(total: int | None, parts: int) -> int | None:
    """Some hosts say 0 of a prompt whose cached part they count: a whole is never less than its parts."""
    return max(total or 0, parts) if parts else total


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
