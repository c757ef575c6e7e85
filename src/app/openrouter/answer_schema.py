"""A JSON Schema (2020-12) that an answer has to fit: checked before it is sent, and always validated here."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from app.openrouter.errors import Misfit
from app.openrouter.schema_walk import Schema, SchemaGraph, SchemaProblem, pointer_step
from app.openrouter.tokens import estimate_tokens

DIALECT = "https://json-schema.org/draft/2020-12/schema"

MOST_LOOKS_AT_ONE_VALUE = 1_000
"""A schema that may look at one value more often than this is a bomb, or might as well be one."""
MOST_WORK = 1_000_000
"""Looks times size of an answer: about a tenth of a second. What would take longer is not checked, and so not valid."""
MOST_DEPTH = 64
"""Levels of an answer."""
MOST_PATTERNS = 100
PATTERN_BYTES = 200_000
"""What one compiled pattern may take; matching takes time in proportion to it."""
MOST_MISFITS = 10
MISFIT_CHARS = 200

_STRICT = frozenset(
    ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs")
) | {"title", "description", "$schema"}
"""What every host that holds answers to a schema strictly knows; with other words some of them refuse the call."""
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class AnswerSchema:
    """Compiled once for a turn. Raises :class:`SchemaProblem` for what is no schema, or none that can be used."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        if schema.get("$schema", DIALECT) not in (DIALECT, DIALECT + "#"):
            raise SchemaProblem("/$schema", f"is not {DIALECT!r}")
        self._check()
        self._graph = SchemaGraph(schema)
        self._check_costs()

    def wire(self) -> dict[str, Any]:
        """``response_format``: strict where every host can be, else a wish that is checked here."""
        wanted = {"name": self._name, "strict": self.is_strict, "schema": self.schema}
        return {"type": "json_schema", "json_schema": wanted}

    @property
    def is_strict(self) -> bool:
        """Every object is closed and all its properties required, in words that all hosts know."""
        nodes = self._graph.nodes
        return self.schema.get("type") == "object" and all(_is_strict(node.schema) for node in nodes.values())

    def misfits(self, value: Any) -> list[Misfit]:
        """Where a value does not fit, the first few; none: it fits. Takes a bounded time."""
        try:
            sizes = _sizes(value)
        except _Unfit as unfit:
            return [Misfit("/", str(unfit))]
        if sum(size * self._graph.looks(depth) for depth, size in enumerate(sizes)) > MOST_WORK:
            return [Misfit("/", "is too large and nested too deep to be checked against this schema")]
        errors = islice(self._validator.iter_errors(value), MOST_MISFITS)
        return [Misfit(_pointer(each.instance_path), _short(each.message)) for each in errors]

    @property
    def tokens(self) -> int:
        """What it takes of a prompt, estimated."""
        return estimate_tokens(msgspec.json.encode(self.schema).decode()) * 3 // 2  # JSON takes more than prose

    @property
    def _name(self) -> str:
        title = self.schema.get("title")
        name = _NOT_IN_A_NAME.sub("_", title)[:64].strip("_") if isinstance(title, str) else ""
        return name or "answer"

    def _check(self) -> None:
        """Against the rules for schemas themselves; the places of references are told by the graph."""
        try:
            jsonschema_rs.meta.validate(dict(self.schema) | {"$schema": DIALECT})
        except jsonschema_rs.ValidationError as error:
            raise SchemaProblem(_pointer(error.instance_path), _short(error.message)) from None

    def _check_costs(self) -> None:
        if self._graph.looks(0) > MOST_LOOKS_AT_ONE_VALUE:
            raise SchemaProblem("", "applies so many schemas to one value that checking an answer might never end")
        patterns = sum(_count_patterns(node.schema) for node in self._graph.nodes.values())
        if patterns > MOST_PATTERNS:
            raise SchemaProblem("", f"has {patterns} patterns; at most {MOST_PATTERNS} are allowed")
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                dict(self.schema),
                validate_formats=True,
                retriever=_deny,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES, dfa_size_limit=PATTERN_BYTES),
            )
        except jsonschema_rs.ValidationError as error:
            raise SchemaProblem(_pointer(error.instance_path), _words(error.message)) from None
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise SchemaProblem("", _short(str(error).partition("\n")[0])) from None


class _Unfit(ValueError):
    """A value that is not looked at."""


def _sizes(value: Any) -> list[int]:
    """How much there is on each level: one for every value, and one for each 32 characters."""
    sizes: list[int] = []
    level: list[Any] = [value]
    while level:
        if len(sizes) >= MOST_DEPTH:
            raise _Unfit(f"is nested deeper than {MOST_DEPTH} levels")
        sizes.append(sum(1 + (len(each) // 32 if isinstance(each, str) else 0) for each in level))
        for each in level:
            if isinstance(each, str) and "\0" in each:
                raise _Unfit("holds the character U+0000, which cannot be stored")
        level = [inner for each in level for inner in _inner(each)]
    return sizes


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _is_strict(schema: Schema) -> bool:
    if not _STRICT.issuperset(schema):
        return False
    if schema.get("type") != "object" and "properties" not in schema:
        return True
    properties: Mapping[str, Any] = schema.get("properties", {})
    return schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(properties)


def _count_patterns(schema: Schema) -> int:
    return ("pattern" in schema) + len(schema.get("patternProperties", ()))


def _pointer(path: list[str | int]) -> str:
    return "".join(map(pointer_step, path)) or "/"


def _words(message: str) -> str:
    if message.endswith('is not a "regex"'):
        return "is not a regular expression that can be matched in linear time: no look-around, no back-references"
    return _short(message)


def _short(message: str) -> str:
    """The value may stand in a message whole: its beginning and the reason behind it are enough."""
    half = MISFIT_CHARS // 2
    return message if len(message) <= MISFIT_CHARS else f"{message[:half]}…{message[-half:]}"


def _deny(uri: str) -> Any:
    raise ValueError(f"{uri} is not asked for")
