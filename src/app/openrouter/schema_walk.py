"""The schemas within a JSON Schema: where each stands, which ones it applies, how often one value is looked at.

A schema of a few lines can ask for more looks at a value than there is time for: every level that applies the next one
twice doubles the work. So the looks are counted before any is taken.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

Schema = Mapping[str, Any]

_ONE = ("not", "if", "then", "else")
_LISTS = ("allOf", "anyOf", "oneOf")
_KEPT = ("$defs", "definitions")
_OF_OBJECTS = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_OF_ARRAYS = ("items", "contains", "unevaluatedItems")
_UNSUPPORTED = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")

MOST_LOOKS = 1 << 40
"""Counting further would tell nothing more."""


class SchemaProblem(ValueError):
    """A schema that cannot be used; ``place`` is a JSON pointer into it."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place or "/"
        self.message = message


@dataclass(slots=True)
class Node:
    """One schema: by their places, those it applies to the same value, and those it applies to a part of it."""

    schema: Schema
    in_place: list[str] = field(default_factory=list)
    of_every_member: list[str] = field(default_factory=list)
    of_one_member: list[str] = field(default_factory=list)
    """Of these no part meets more than one: properties by name, items by position."""
    kept: list[str] = field(default_factory=list)
    """Those that only stand there to be named."""

    @property
    def applied(self) -> Iterator[str]:
        yield from (*self.in_place, *self.of_every_member, *self.of_one_member, *self.kept)


class SchemaGraph:
    """All schemas that can be reached in one document. Raises :class:`SchemaProblem` for what it cannot follow."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self.nodes: dict[str, Node] = {}
        waiting = [""]
        while waiting:
            place = waiting.pop()
            if place not in self.nodes:
                node = self.nodes[place] = self._read(place)
                waiting.extend(node.applied)
        self._order = self._ordered()
        self._levels: list[dict[str, int]] = []

    def looks(self, depth: int) -> int:
        """How often a part of a value, ``depth`` levels below its top, may be looked at."""
        while len(self._levels) <= depth:
            self._levels.append(self._next_level())
        return self._levels[depth][""]

    def _next_level(self) -> dict[str, int]:
        above = self._levels[-1] if self._levels else None
        level: dict[str, int] = {}
        for place in self._order:
            node = self.nodes[place]
            # What was not evaluated is found out by going through those in place once more.
            again = 2 if any(name.startswith("unevaluated") for name in node.schema) else 1
            looks = again * sum(level[each] for each in node.in_place)
            if above is None:
                looks += 1
            else:
                looks += sum(above[each] for each in node.of_every_member)
                looks += max((above[each] for each in node.of_one_member), default=0)
            level[place] = min(looks, MOST_LOOKS)
        return level

    def _ordered(self) -> Sequence[str]:
        try:
            return list(TopologicalSorter({place: node.in_place for place, node in self.nodes.items()}).static_order())
        except CycleError as error:
            raise SchemaProblem(error.args[1][0], "applies itself to the same value without end") from None

    def _read(self, place: str) -> Node:
        schema = self._at(place)
        if isinstance(schema, bool):
            return Node({})
        if not isinstance(schema, Mapping):
            raise SchemaProblem(place, "is not a schema")
        for name in _UNSUPPORTED:
            if name in schema:
                raise SchemaProblem(place + pointer_step(name), "is not supported; name schemas by #/$defs/…")
        if place and "$id" in schema:
            raise SchemaProblem(f"{place}/$id", "is not supported below the top")
        node = Node(schema)
        if "$ref" in schema:
            node.in_place.append(self._referred(place, schema["$ref"]))
        node.in_place += [*_named(place, schema, _ONE), *_listed(place, schema, _LISTS)]
        node.in_place += _mapped(place, schema, ("dependentSchemas",))
        node.of_one_member += [*_mapped(place, schema, ("properties",)), *_listed(place, schema, ("prefixItems",))]
        node.of_every_member += _mapped(place, schema, ("patternProperties",))
        node.of_every_member += _named(place, schema, (*_OF_OBJECTS, *_OF_ARRAYS))
        node.kept += _mapped(place, schema, _KEPT)
        return node

    def _referred(self, place: str, reference: Any) -> str:
        where = f"{place}/$ref"
        if not isinstance(reference, str):
            raise SchemaProblem(where, "is not a text")
        if not reference.startswith("#"):
            raise SchemaProblem(where, "leads out of this schema; only references such as #/$defs/… are followed")
        target = reference[1:]
        if target and not target.startswith("/"):
            raise SchemaProblem(where, "is not supported; name schemas by #/$defs/…")
        try:
            self._at(target)
        except (KeyError, IndexError, ValueError, TypeError):
            raise SchemaProblem(where, f"leads nowhere: there is no {reference[:100]!r}") from None
        return target

    def _at(self, place: str) -> Any:
        found: Any = self._root
        for step in place.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found


def pointer_step(name: str | int) -> str:
    """One step of a JSON pointer."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def _named(place: str, schema: Schema, names: Iterable[str]) -> list[str]:
    return [f"{place}/{name}" for name in names if name in schema]


def _listed(place: str, schema: Schema, names: Iterable[str]) -> list[str]:
    lists = ((name, schema[name]) for name in names if isinstance(schema.get(name), list))
    return [f"{place}/{name}/{index}" for name, each in lists for index in range(len(each))]


def _mapped(place: str, schema: Schema, names: Iterable[str]) -> list[str]:
    maps = ((name, schema[name]) for name in names if isinstance(schema.get(name), Mapping))
    return [f"{place}/{name}{pointer_step(key)}" for name, each in maps for key in each]
