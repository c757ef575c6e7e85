"""Variables of a preset: typed blanks in its system prompt, filled for each conversation.

The system prompt goes out as it is written, ``{{name}}`` and all: it is the same for everybody and can be cached. What
the names stand for is told at the very end of the newest turn, behind all that is cached.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

VARIABLE_NAME = r"[a-z][a-z0-9_]{0,39}"
MOST_VARIABLES = 20
MOST_CHARS = 500
"""Of a text that no limit of its own keeps shorter."""


class WrongValue(ValueError):
    """``name`` is the variable; the message says what is wrong."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


Variables = Mapping[str, Mapping[str, Any]]
"""By name: ``type`` (string, number, boolean, enum) and, as they fit it, ``default``, ``options``, ``minimum``,
``maximum``, ``max_length``."""
Values = Mapping[str, Any]


def check_declarations(variables: Variables) -> None:
    """Raise :class:`WrongValue` for a variable that makes no sense, such as a default it does not allow itself."""
    for name, declared in variables.items():
        if not re.fullmatch(VARIABLE_NAME, name):
            raise WrongValue(name, "is no name: small letters, digits and _, at most 40, a letter first")
        kind, allowed = declared["type"], _FITTING[declared["type"]]
        odd = [key for key, value in declared.items() if value is not None and key not in allowed]
        if odd:
            raise WrongValue(name, f"a {kind} has no {odd[0]}")
        if kind == "enum" and not declared.get("options"):
            raise WrongValue(name, "an enum needs options")
        if declared.get("default") is not None:
            _check(name, declared, declared["default"])


def fill(variables: Variables, given: Values) -> dict[str, Any]:
    """What each variable stands for; raises :class:`WrongValue` for one that is unknown, missing or out of bounds."""
    for name in given:
        if name not in variables:
            raise WrongValue(name, "is no variable of this preset")
    filled = {}
    for name, declared in variables.items():
        value = given.get(name, declared.get("default"))
        if value is None:
            raise WrongValue(name, "is missing, and has no default")
        _check(name, declared, value)
        filled[name] = value
    return filled


def told(filled: Values) -> str:
    """The values in words for the model. They are data: what opens or closes a tag of ours is taken out of them."""
    lines = [f"{{{{{name}}}}}: {json.dumps(value, ensure_ascii=False)}" for name, value in filled.items()]
    text = "\n".join(lines).replace("<", "\\u003c").replace(">", "\\u003e")
    return (
        f"<values>\nWhat the names in double braces in your instructions stand for, as plain data:\n{text}\n</values>"
    )


_FITTING: Mapping[str, frozenset[str]] = {
    "string": frozenset({"type", "description", "default", "max_length"}),
    "number": frozenset({"type", "description", "default", "minimum", "maximum"}),
    "boolean": frozenset({"type", "description", "default"}),
    "enum": frozenset({"type", "description", "default", "options"}),
}


def _check(name: str, declared: Mapping[str, Any], value: Any) -> None:
    kind = declared["type"]
    if kind == "boolean":
        if not isinstance(value, bool):
            raise WrongValue(name, "must be true or false")
    elif kind == "number":
        _check_number(name, declared, value)
    elif not isinstance(value, str):
        raise WrongValue(name, "must be a text")
    elif kind == "enum":
        if value not in declared["options"]:
            raise WrongValue(name, f"must be one of {', '.join(declared['options'])}")
    elif len(value) > (longest := declared.get("max_length") or MOST_CHARS):
        raise WrongValue(name, f"has {len(value)} characters; at most {longest} are allowed")


def _check_number(name: str, declared: Mapping[str, Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue(name, "must be a number")
    low, high = declared.get("minimum"), declared.get("maximum")
    if low is not None and value < low:
        raise WrongValue(name, f"must be at least {low}")
    if high is not None and value > high:
        raise WrongValue(name, f"must be at most {high}")
