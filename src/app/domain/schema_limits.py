"""How large a JSON Schema somebody sends may be, before anything else looks at it."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.text import is_storable

MAX_SCHEMA_BYTES = 32_768
"""About 8,000 tokens: a host adds the schema to the prompt, so a larger one would crowd out the conversation."""

MAX_SCHEMA_DEPTH = 32
"""Levels of JSON. An object within an object takes two of them; hosts that hold answers to a schema take about ten."""


def refuse_schema(schema: Mapping[str, Any]) -> str | None:
    """Why a schema is not looked at any further, and at which place; ``None`` if its measures are right.

    Never recurses: what comes may be nested as deep as a parser allows.
    """
    for place, value, depth in _walk(schema):
        if depth > MAX_SCHEMA_DEPTH:
            return f"at {shortened(place)}: is nested deeper than {MAX_SCHEMA_DEPTH} levels"
        if isinstance(value, str) and not is_storable(value):
            return f"at {shortened(place)}: holds characters that cannot be stored"
        if isinstance(value, float) and not math.isfinite(value):
            return f"at {shortened(place)}: is not a JSON number"
    size = len(json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_SCHEMA_BYTES:
        return f"at /: takes {size:,} bytes; at most {MAX_SCHEMA_BYTES:,} are allowed"
    return None


def pointer_step(key: str | int) -> str:
    """One step of a JSON pointer."""
    return "/" + str(key).replace("~", "~0").replace("/", "~1").encode(errors="replace").decode()


def shortened(place: str) -> str:
    """A pointer that fits into a sentence."""
    return place if len(place) <= 200 else place[:200] + "…"


def _walk(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """Every value with its pointer and depth, names as well as what they name; no deeper than one level too deep."""
    waiting: list[tuple[str, Any, int]] = [("/", schema, 1)]
    while waiting:
        place, value, depth = waiting.pop()
        yield place, value, depth
        if depth > MAX_SCHEMA_DEPTH:
            continue
        base = place.removesuffix("/") if place == "/" else place
        if isinstance(value, Mapping):
            for name, each in value.items():
                yield place, name, depth
                waiting.append((base + pointer_step(name), each, depth + 1))
        elif isinstance(value, list):
            waiting.extend((base + pointer_step(index), each, depth + 1) for index, each in enumerate(value))
