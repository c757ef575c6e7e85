"""Values that fit a JSON Schema: short, plainly simulated, and the same for the same schema and chance."""

import random
from collections.abc import Mapping
from typing import Any

from openrouter_emulator.answers.pattern import matching_text
from openrouter_emulator.http.errors import ApiError

MAX_DEPTH = 6
FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T10:30:00Z",
    "time": "10:30:00Z",
    "email": "someone@example.org",
    "uri": "https://example.org/simulated",
    "url": "https://example.org/simulated",
    "uuid": "3f2b8c4e-5d6a-4b7c-8d9e-0a1b2c3d4e5f",
    "ipv4": "192.0.2.1",
    "hostname": "example.org",
    "duration": "P1D",
}


class SchemaWriter:
    """Writes one value for one schema; references are looked up in the schema's own root."""

    def __init__(self, schema: Mapping[str, Any], chance: random.Random) -> None:
        self._root = schema
        self._chance = chance

    def write(self) -> Any:
        """400 for a schema that is none."""
        try:
            return self._value(self._root, name="value", depth=0)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ApiError(400, f"Invalid schema: {error}", metadata={"error_type": "invalid_request"}) from None

    def _value(self, schema: Any, *, name: str, depth: int) -> Any:
        if not isinstance(schema, Mapping):
            return f"simulated {name}"
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._chance.choice(schema["enum"])
        kind = _kind(schema, depth)
        writers = {
            "object": self._object,
            "array": self._array,
            "integer": self._integer,
            "number": self._number,
            "boolean": self._boolean,
            "null": lambda *_args, **_options: None,
        }
        return writers.get(kind, self._string)(schema, name=name, depth=depth)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """References followed, `allOf` merged, the first useful branch of a union taken."""
        for _ in range(MAX_DEPTH):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = {**self._pointed(str(schema["$ref"])), **rest}
            elif "allOf" in schema:
                schema = _merged([self._resolved(part) for part in schema["allOf"]], schema)
            elif branches := schema.get("anyOf") or schema.get("oneOf"):
                chosen = next((branch for branch in branches if branch.get("type") != "null"), branches[0])
                rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
                schema = {**rest, **chosen}
            else:
                break
        return schema

    def _pointed(self, reference: str) -> Mapping[str, Any]:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                found = found.get(step.replace("~1", "/").replace("~0", "~"), {})
        return found if isinstance(found, Mapping) else {}

    def _object(self, schema: Mapping[str, Any], *, name: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = set(schema.get("required", ()))
        wanted = (
            properties if depth < MAX_DEPTH else {key: value for key, value in properties.items() if key in required}
        )
        return {key: self._value(value, name=key, depth=depth + 1) for key, value in wanted.items()}

    def _array(self, schema: Mapping[str, Any], *, name: str, depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        usual = 2 if depth < MAX_DEPTH else 0
        count = min(max(least, usual), int(schema.get("maxItems", max(least, usual))))
        prefix = schema.get("prefixItems", [])
        items = [prefix[index] if index < len(prefix) else schema.get("items", {}) for index in range(count)]
        return [self._value(item, name=f"{name} {index + 1}", depth=depth + 1) for index, item in enumerate(items)]

    def _integer(self, schema: Mapping[str, Any], *, name: str, depth: int) -> int:
        low, high = _bounds(schema, step=1)
        step = int(schema.get("multipleOf", 1)) or 1
        first = -(-int(low) // step) * step
        return min(first + step * self._chance.randint(0, 5), int(high) // step * step)

    def _number(self, schema: Mapping[str, Any], *, name: str, depth: int) -> float:
        low, high = _bounds(schema, step=0.001)
        if "multipleOf" in schema:
            return float(-(-low // schema["multipleOf"]) * schema["multipleOf"])
        return round(low + (min(high, low + 100) - low) * self._chance.random(), 3)

    def _boolean(self, schema: Mapping[str, Any], *, name: str, depth: int) -> bool:
        return self._chance.random() < 0.5

    def _string(self, schema: Mapping[str, Any], *, name: str, depth: int) -> str:
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        if "pattern" in schema:
            return matching_text(str(schema["pattern"]))
        text = f"simulated {name.replace('_', ' ')}".ljust(int(schema.get("minLength", 0)), ".")
        return text[: int(schema["maxLength"])] if "maxLength" in schema else text


def _kind(schema: Mapping[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        if "null" in kind and depth >= MAX_DEPTH:
            return "null"
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _bounds(schema: Mapping[str, Any], *, step: float) -> tuple[float, float]:
    """Both inclusive."""
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    if low is None:
        low = min(0, high) if high is not None else 0
    return low, high if high is not None else low + 1_000


def _merged(parts: list[Mapping[str, Any]], whole: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in whole.items() if key != "allOf"}
    for part in parts:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged = {**merged, **part}
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged
