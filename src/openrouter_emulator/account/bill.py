"""What was charged: a running total, and a row for each of the newest generations."""

from collections import deque
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from openrouter_emulator.chat.generation import Generation


class Bill:
    def __init__(self, *, size: int) -> None:
        self._generations: deque[Generation] = deque(maxlen=size)
        self.total = Decimal(0)

    def add(self, generation: Generation) -> None:
        """Enter a settled generation."""
        self._generations.append(generation)
        self.total += generation.billed

    def view(self, generation_ids: Collection[str] = ()) -> dict[str, Any]:
        """All rows and the total ever billed, or those asked for and their sum; USD as strings."""
        if not generation_ids:
            return _view(list(self._generations), self.total)
        found = [generation for generation in self._generations if generation.id in generation_ids]
        return _view(found, sum((generation.billed for generation in found), Decimal(0)))

    def clear(self) -> None:
        self._generations.clear()
        self.total = Decimal(0)


def _view(generations: list[Generation], total: Decimal) -> dict[str, Any]:
    rows = [generation.bill_row() for generation in generations]
    return {"total": format(total, "f"), "count": len(rows), "generations": rows}
