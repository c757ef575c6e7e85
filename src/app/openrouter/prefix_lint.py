"""Names what will keep a prompt from being found in a cache: in a system prompt, in one request, in several of them."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from app.openrouter.cache_blocks import BlockReader
from app.openrouter.cache_prints import common_part, print_of
from app.openrouter.lint_patterns import find_in

SYSTEM_ROLES = ("system", "developer")
_LOOKS_LIKE_JSON = re.compile(r"\s*(?:\{|\[(?![a-z]))", re.IGNORECASE)
"""A text may begin with a heading in brackets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`place` is where, `line` a line of that text (0: the whole of it). `breaks`: no later request finds it."""

    place: str
    line: int
    rule: str
    text: str
    advice: str
    breaks: bool


class UnreadableRecording(ValueError):
    """It begins like JSON, and is no prompt."""


def lint_text(text: str, *, place: str = "system prompt") -> list[Finding]:
    """A text that stands at the beginning of every prompt."""
    return [
        Finding(
            place=place,
            line=each.line,
            rule=each.pattern.rule,
            text=each.text,
            advice=each.pattern.advice,
            breaks=each.pattern.breaks,
        )
        for each in find_in(text)
    ]


def lint_recording(source: str) -> list[Finding]:
    """Whatever was recorded: a system prompt as it is, or JSON: messages, a request (`messages`, `tools`), a preset
    (`system_prompt`), or a list of requests in the order in which they were sent.

    Raises :class:`UnreadableRecording`.
    """
    if not _LOOKS_LIKE_JSON.match(source):
        return lint_text(source)
    try:
        recorded = msgspec.json.decode(source.encode())
    except msgspec.DecodeError as error:
        if source.lstrip().startswith(("{{", "[[")):
            return lint_text(source)  # a text that begins with a template's variable
        raise UnreadableRecording(f"This is not JSON: {error}.") from None
    requests = list(_requests(recorded))
    if not requests:
        raise UnreadableRecording("There are no messages in it.")
    found = _once(finding for request in requests for finding in _lint_request(request))
    return found + list(_departures(requests))


def _requests(recorded: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(recorded, Mapping):
        if isinstance(recorded.get("system_prompt"), str):
            yield {"messages": [{"role": "system", "content": recorded["system_prompt"]}]}
        elif isinstance(recorded.get("messages"), list):
            yield {"messages": _messages(recorded["messages"]), "tools": _tools(recorded.get("tools") or [])}
    elif isinstance(recorded, list) and all(isinstance(each, Mapping) and "role" in each for each in recorded):
        if recorded:
            yield {"messages": _messages(recorded)}
    elif isinstance(recorded, list):
        for each in recorded:
            yield from _requests(each)


def _messages(recorded: Sequence[Any]) -> list[Mapping[str, Any]]:
    if not all(isinstance(each, Mapping) and isinstance(each.get("role"), str) for each in recorded):
        raise UnreadableRecording("A message without a role is in it.")
    for each in recorded:
        content = each.get("content")
        if not (content is None or isinstance(content, str) or _are_objects(content)):
            raise UnreadableRecording("The content of a message is neither text nor a list of parts.")
    return list(recorded)


def _tools(recorded: Any) -> list[Mapping[str, Any]]:
    if not _are_objects(recorded):
        raise UnreadableRecording("Its tools are not a list of tools.")
    return list(recorded)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def _lint_request(request: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _lint_tools(request.get("tools") or [])
    messages = request["messages"]
    newest = max((at for at, each in enumerate(messages) if each["role"] == "user"), default=len(messages))
    seen_others = False
    for at, message in enumerate(messages):
        place, text = f"message {at + 1} ({message['role']})", _text_of(message)
        if message["role"] in SYSTEM_ROLES:
            yield from lint_text(text, place=place)
            if seen_others:
                yield _finding(
                    place, "late-system", "", "Providers read system messages first: keep this one at the front."
                )
        else:
            seen_others = True
            if at < newest:
                yield from (each for each in lint_text(text, place=place) if each.rule == "documents")


def _lint_tools(tools: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    names = [_name_of(tool) for tool in tools]
    if names != sorted(names):
        yield _finding(
            "tools", "unordered-tools", ", ".join(names), "Send tools sorted by name: another order is another prefix."
        )
    for name, tool in zip(names, tools, strict=True):
        place = f"tool {name}"
        yield from lint_text(json.dumps(tool, ensure_ascii=False), place=place)
        if _has_unsorted_keys(tool):
            yield _finding(
                place, "unordered-keys", "", "Write its JSON with sorted keys, the same each time.", breaks=False
            )


def _name_of(tool: Mapping[str, Any]) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, Mapping) else tool).get("name", ""))


def _departures(requests: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Where a request does not go on from the one before it."""
    reader = BlockReader()
    read = [reader.read(each["messages"], tools=each.get("tools") or []) for each in requests]
    for number, (before, after) in enumerate(pairwise(read), start=2):
        common = common_part(print_of(before, []), after)
        if common.blocks < len(before):
            where = "the end" if common.changed is None else _block_name(after.places[common.changed])
            yield _finding(
                f"request {number}",
                "departs",
                where,
                "It does not begin with the request before it: from here on nothing is read.",
            )


def _block_name(place: tuple[int, int]) -> str:
    message, part = place
    return f"tool {part + 1}" if message < 0 else f"message {message + 1}"


def _has_unsorted_keys(value: Any) -> bool:
    if isinstance(value, Mapping):
        names = list(value)
        return names != sorted(names) or any(_has_unsorted_keys(each) for each in value.values())
    return isinstance(value, list) and any(_has_unsorted_keys(each) for each in value)


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text") or "") for part in content or ())


def _once(findings: Iterable[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))


def _finding(place: str, rule: str, text: str, advice: str, *, breaks: bool = True) -> Finding:
    return Finding(place=place, line=0, rule=rule, text=text, advice=advice, breaks=breaks)
