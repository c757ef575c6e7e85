"""JSON as models write it: within a fence or a sentence, with a comma too many, without the last brackets.

Only what leaves no doubt is healed. A text or a number that was cut is not made whole, nothing is guessed.
"""

import re
from typing import Any

import msgspec

_FENCED = re.compile(r"```(?:json|JSON)?\s(.*?)```", re.DOTALL)
_PIECE = re.compile(r'"(?:\\.|[^"\\])*+"|[{}\[\],]|[^"{}\[\],]+|"', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}
_WHOLE_ENDS = ('"', "}", "]", "true", "false", "null")


class NotJson(ValueError):
    """The text is no JSON, nor can it be healed."""


def read_json(text: str) -> tuple[Any, bool]:
    """The value, and whether the text had to be healed; raises :class:`NotJson`."""
    try:
        return _decoded(text), False
    except NotJson:
        return _decoded(_healed(text)), True


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise NotJson(str(error)) from None


def _healed(text: str) -> str:
    fenced = _FENCED.search(text)
    body = fenced[1] if fenced else text
    starts = [place for place in (body.find("{"), body.find("[")) if place >= 0]
    if not starts:
        raise NotJson("holds no JSON")
    return _balanced(body[min(starts) :])


def _balanced(text: str) -> str:
    """The one value the text begins with, its brackets closed and no comma before a closing one."""
    closers: list[str] = []
    pieces: list[str] = []
    comma_at: int | None = None
    for found in _PIECE.finditer(text):
        piece = found[0]
        if piece == '"':
            raise NotJson("ends within a text")
        if piece in _CLOSING:
            closers.append(_CLOSING[piece])
        elif piece in ("}", "]"):
            if closers.pop() != piece:
                raise NotJson("closes brackets that are not open")
            if comma_at is not None:
                del pieces[comma_at]
        pieces.append(piece)
        if not closers:
            return _alone(pieces, text[found.end() :])
        if piece == ",":
            comma_at = len(pieces) - 1
        elif not piece.isspace():
            comma_at = None
    if comma_at is not None:
        del pieces[comma_at]
    written = "".join(pieces).rstrip()
    if not written.endswith(_WHOLE_ENDS):
        raise NotJson("ends within a value")
    return written + "".join(reversed(closers))


def _alone(pieces: list[str], rest: str) -> str:
    if "{" in rest or "[" in rest:
        raise NotJson("holds more than one value")
    return "".join(pieces)
