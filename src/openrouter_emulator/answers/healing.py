"""The `response-healing` plugin: JSON text without fences, trailing commas and missing brackets."""

import re

import msgspec

from openrouter_emulator.chat.request import ChatRequest

_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_TEXT_OR_BRACKET = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\]]')
CLOSING = {"{": "}", "[": "]"}


def heals(request: ChatRequest) -> bool:
    """Only whole answers that were to be JSON are healed."""
    asked = any(
        plugin.get("id") == "response-healing" and plugin.get("enabled", True) for plugin in request.plugins or ()
    )
    return asked and not request.streams and request.format_type in ("json_object", "json_schema")


def heal_json(text: str) -> str:
    """Valid JSON where these repairs are enough, else the text as it was; a wrong schema stays wrong."""
    fenced = _FENCED.search(text)
    healed = _TRAILING_COMMA.sub(r"\1", (fenced[1] if fenced else text).strip())
    healed += _missing_brackets(healed)
    try:
        msgspec.json.decode(healed)
    except msgspec.DecodeError:
        return text
    return healed


def _missing_brackets(text: str) -> str:
    open_ones: list[str] = []
    for found in _TEXT_OR_BRACKET.findall(text):
        if found in CLOSING:
            open_ones.append(CLOSING[found])
        elif open_ones and found == open_ones[-1]:
            open_ones.pop()
    return "".join(reversed(open_ones))
