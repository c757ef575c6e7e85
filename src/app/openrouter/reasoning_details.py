"""Reasoning details put together from the pieces in which they stream, fit to be sent back."""

from collections.abc import Mapping
from typing import Any

_GROWING = ("text", "summary")
"""Fields whose pieces follow each other; all others are set once."""


class ReasoningDetailsFold:
    """Joins pieces of the same block: same type, same index, no second id."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Any]] = []

    def feed(self, piece: Mapping[str, Any]) -> None:
        block = self._blocks[-1] if self._blocks else None
        if block is None or not _continues(block, piece):
            self._blocks.append({key: [value] if key in _GROWING else value for key, value in piece.items()})
            return
        for key, value in piece.items():
            if key in _GROWING:
                block.setdefault(key, []).append(value)
            elif value is not None:
                block[key] = value

    def details(self) -> tuple[Mapping[str, Any], ...]:
        return tuple({key: _joined(key, value) for key, value in block.items()} for block in self._blocks)


def _continues(block: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    kind = piece.get("type")
    return (
        kind in ("reasoning.text", "reasoning.summary")
        and kind == block.get("type")
        and block.get("index") == piece.get("index")
        and (not piece.get("id") or not block.get("id") or block["id"] == piece["id"])
        and not block.get("signature")  # a signed block is closed
    )


def _joined(key: str, value: Any) -> Any:
    if key not in _GROWING:
        return value
    texts = [piece for piece in value if isinstance(piece, str)]
    return "".join(texts) if texts else value[0]
