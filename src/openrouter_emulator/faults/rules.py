"""Standing orders for faults: which, how often, and for which requests."""

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from openrouter_emulator.faults.fault import FAULTS
from openrouter_emulator.http.errors import ApiError


class FaultRule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """As given to the control endpoint; `match` holds body fields, `header:<name>` or the end of the `path`."""

    name: str
    params: dict[str, str | float | bool] = msgspec.field(default_factory=dict)
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, Meta(ge=1)] | None = None
    """How many requests it still strikes; None: all."""
    model: str | None = None
    """Strikes requests that name this model; an upstream fault strikes attempts at it."""
    provider: str | None = None
    """Strikes attempts at, or answers from, this provider (slug or display name)."""
    match: dict[str, str | bool] = msgspec.field(default_factory=dict)
    id: int = 0

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"no fault is called {self.name!r}")

    def concerns(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> bool:
        if self.model and self.model not in (body.get("model"), *(body.get("models") or ())):
            return False
        paths = (str(self.match["path"]),) if "path" in self.match else FAULTS[self.name].paths
        wanted = {name: value for name, value in self.match.items() if name != "path"}
        return path.endswith(paths) and all(_found(name, headers, body) == wanted[name] for name in wanted)


def _found(name: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Any:
    if name.startswith("header:"):
        return headers.get(name.removeprefix("header:"))
    return body.get(name, False if name == "stream" else None)


class FaultRules:
    """The standing orders, oldest first."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []
        self._ids = itertools.count(1)

    def add(self, rule: FaultRule) -> FaultRule:
        rule.id = next(self._ids)
        self._rules.append(rule)
        return rule

    def remove(self, rule_id: int | None = None) -> int:
        """Remove one, or all; how many there were."""
        kept = [rule for rule in self._rules if rule_id is not None and rule.id != rule_id]
        removed, self._rules = len(self._rules) - len(kept), kept
        return removed

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[FaultRule]:
        return iter(self._rules)

    def strike(
        self, path: str, headers: Mapping[str, str], body: Mapping[str, Any], chance: random.Random
    ) -> list[FaultRule]:
        """The rules that hit this request; their `times` are counted down."""
        hit = [rule for rule in self._rules if rule.concerns(path, headers, body) and _drawn(rule, chance)]
        for rule in hit:
            if rule.times is not None:
                rule.times -= 1
        self._rules = [rule for rule in self._rules if rule.times != 0]
        return hit


def parse_header(text: str, chance: random.Random) -> list[FaultRule]:
    """`cut_after_tokens=40; probability=0.5, no_usage`: faults by comma, parameters by semicolon."""
    rules = [_parse_fault(one) for one in text.split(",") if one.strip()]
    return [rule for rule in rules if _drawn(rule, chance)]


def _parse_fault(text: str) -> FaultRule:
    first, *rest = (part.strip() for part in text.split(";"))
    name, _, value = first.partition("=")
    fields: dict[str, Any] = {"name": name.strip(), "params": {}}
    if value:
        primary = FAULTS[name.strip()].primary if name.strip() in FAULTS else None
        fields["params"][primary or "value"] = value.strip()
    for part in rest:
        key, _, given = part.partition("=")
        target = fields if key.strip() in ("probability", "provider", "model") else fields["params"]
        target[key.strip()] = given.strip()
    return convert_rule(fields)


def convert_rule(fields: Mapping[str, Any]) -> FaultRule:
    """A checked rule, or a 400 that says what is wrong with it."""
    try:
        rule = msgspec.convert(fields, FaultRule, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"Bad fault: {error}") from None
    known = FAULTS[rule.name].defaults
    unknown = [name for name in rule.params if name not in known]
    if unknown:
        raise ApiError(400, f"Bad fault: {rule.name!r} has no parameter {unknown[0]!r}; it has {sorted(known)}")
    return rule


def _drawn(rule: FaultRule, chance: random.Random) -> bool:
    return rule.probability >= 1 or chance.random() < rule.probability
