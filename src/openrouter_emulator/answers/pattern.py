"""The shortest simple text a regular expression matches, for `pattern` in a schema."""

import re
from re import _constants as sre  # type: ignore[attr-defined]  # the standard library's own parse tree
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

CATEGORIES = {sre.CATEGORY_DIGIT: "1", sre.CATEGORY_WORD: "a", sre.CATEGORY_SPACE: " "}


def matching_text(pattern: str) -> str:
    """A text `pattern` finds; empty when the pattern is not one Python understands."""
    try:
        return _written(parser.parse(pattern))
    except re.error:
        return ""


def _written(tree: Any) -> str:
    return "".join(_one(operation, argument) for operation, argument in tree)


def _one(operation: Any, argument: Any) -> str:
    if operation is sre.LITERAL:
        return chr(argument)
    if operation is sre.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if operation is sre.ANY:
        return "a"
    if operation is sre.IN:
        return _member(argument)
    if operation is sre.BRANCH:
        return _written(argument[1][0])
    if operation is sre.SUBPATTERN:
        return _written(argument[3])
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return _written(argument[2]) * int(argument[0])
    return ""  # anchors and look-arounds take no room


def _member(members: list[tuple[Any, Any]]) -> str:
    negated = members[0][0] is sre.NEGATE
    expression = [member for member in members if member[0] is not sre.NEGATE]
    if negated:
        taken = {chr(argument) for operation, argument in expression if operation is sre.LITERAL}
        return next(letter for letter in "aA1 -_" if letter not in taken)
    operation, argument = expression[0]
    if operation is sre.RANGE:
        return chr(argument[0])
    return CATEGORIES.get(argument, "a") if operation is sre.CATEGORY else chr(argument)
