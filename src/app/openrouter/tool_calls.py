"""Tool calls put together from the pieces in which they stream."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

import msgspec

from app.openrouter.reading import as_map, as_text
from app.openrouter.types import ToolCall, ToolCallDelta


class ToolCallFold:
    """Gathers pieces into calls, in the order in which the calls began.

    A new id begins a new call even under an index already seen: some hosts give every call the index 0. A piece
    without an id belongs to the latest call of its index, or to the latest call when it has no index.
    """

    def __init__(self) -> None:
        self._calls: list[_OpenCall] = []

    def feed(self, piece: Mapping[str, Any]) -> ToolCallDelta | None:
        function = as_map(piece.get("function"))
        id_, name = as_text(piece.get("id")), as_text(function.get("name"))
        arguments = _arguments(function.get("arguments"))
        call = self._find(id_, name, piece.get("index"))
        if call.repeats(id_, arguments):
            return None
        call.id = call.id or id_
        call.name = call.name or name or ""
        call.arguments.write(arguments)
        return ToolCallDelta(call.position, call.id, call.name, arguments)

    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(id=call.id, name=call.name, arguments=call.arguments.getvalue()) for call in self._calls)

    def _find(self, id_: str | None, name: str | None, index: Any) -> "_OpenCall":
        for call in reversed(self._calls):
            if call.continues(id_, name, index):
                return call
        call = _OpenCall(position=len(self._calls), id=id_, index=index)
        self._calls.append(call)
        return call


class _OpenCall:
    """A call of which more may come."""

    __slots__ = ("arguments", "id", "index", "name", "position")

    def __init__(self, *, position: int, id: str | None, index: Any) -> None:
        self.position = position
        self.id = id
        self.index = index
        self.name = ""
        self.arguments = StringIO()

    def continues(self, id_: str | None, name: str | None, index: Any) -> bool:
        if id_ is not None and self.id is not None:
            return id_ == self.id
        if index is not None and self.index is not None:
            return bool(index == self.index)
        return not (name and self.name)

    def repeats(self, id_: str | None, arguments: str) -> bool:
        """Whether a piece says a whole call again, as some hosts do at the end."""
        return id_ is not None and bool(arguments) and arguments == self.arguments.getvalue() and _is_object(arguments)


def _arguments(value: Any) -> str:
    if isinstance(value, dict):  # a host that forgot to make text of it
        return msgspec.json.encode(value).decode()
    return as_text(value) or ""


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False
