"""What a fault is: a name, the stages of an answer at which it acts, and what it does there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

Value = str | float | bool
Function = TypeVar("Function", bound=Callable[..., Any])
INFERENCE = ("/chat/completions", "/images")
"""Where faults strike unless they say otherwise."""


class Stage(Enum):
    """Where a fault acts, in the order an answer comes to be."""

    DELAY = "nothing is sent for a while, not even headers"
    REFUSAL = "the request is refused before routing"
    UPSTREAM = "a host fails, and routing goes on to the next"
    ANSWER = "what the model writes"
    GENERATION = "how it is billed"
    USAGE = "the usage object"
    PAYLOAD = "every JSON object: the whole answer, or each chunk"
    BODY = "the whole answer as one JSON object"
    EVENTS = "the order and timing of what is sent"
    ERROR = "the envelope of an error"
    HEADERS = "the response headers"
    PIECES = "how bytes are cut and packed"


class Parameters:
    """A fault's parameters: those given, over its defaults."""

    def __init__(self, defaults: Mapping[str, Value], given: Mapping[str, Any]) -> None:
        self._values = {**defaults, **given}

    def number(self, name: str) -> float:
        return float(self._values[name])

    def count(self, name: str) -> int:
        return int(float(self._values[name]))

    def text(self, name: str) -> str:
        return str(self._values[name])

    def flag(self, name: str) -> bool:
        return str(self._values[name]).lower() in ("1", "1.0", "true", "yes")

    def has(self, name: str) -> bool:
        return bool(self._values.get(name, "") != "")


@dataclass(frozen=True, slots=True)
class Fault:
    """`primary` is the parameter that `name=value` sets; every parameter has a default, "" meaning none."""

    name: str
    description: str
    primary: str | None
    defaults: Mapping[str, Value]
    quirks: tuple[int, ...]
    """Numbers in the list of quirks seen in real traffic."""
    paths: tuple[str, ...]
    streams_only: bool
    """Whether an answer sent as one JSON object is left alone."""
    actions: dict[Stage, Callable[..., Any]] = field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "stages": [stage.name.lower() for stage in self.actions],
            "primary": self.primary,
            "parameters": dict(self.defaults),
            "quirks": list(self.quirks),
            "paths": list(self.paths),
            "streams_only": self.streams_only,
        }


FAULTS: dict[str, Fault] = {}
"""Every fault by name; the modules listed in `library` fill it."""


def fault(
    name: str,
    stage: Stage,
    description: str,
    *,
    quirks: tuple[int, ...] = (),
    paths: tuple[str, ...] = INFERENCE,
    streams_only: bool = False,
    **defaults: Value,
) -> Callable[[Function], Function]:
    """Register the decorated function as a fault; its first parameter is the primary one."""

    def register(apply: Function) -> Function:
        primary = next(iter(defaults), None)
        actions: dict[Stage, Callable[..., Any]] = {stage: apply}
        FAULTS[name] = Fault(name, description, primary, defaults, quirks, paths, streams_only, actions)
        return apply

    return register


def also(name: str, stage: Stage) -> Callable[[Function], Function]:
    """The decorated function is what the fault does at another stage."""

    def register(apply: Function) -> Function:
        FAULTS[name].actions[stage] = apply
        return apply

    return register
