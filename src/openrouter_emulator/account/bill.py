"""What was charged: a running total, and a record of each of the newest generations."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

from openrouter_emulator.chat.generation import Generation


class Bill:
    def __init__(self, *, size: int) -> None:
        self._generations: OrderedDict[str, Generation] = OrderedDict()
        self._size = size
        self.total = Decimal(0)

    def add(self, generation: Generation) -> None:
        """Enter a settled generation."""
        self._generations[generation.id] = generation
        self.total += generation.billed
        if len(self._generations) > self._size:
            self._generations.popitem(last=False)

    def get(self, generation_id: str) -> Generation | None:
        return self._generations.get(generation_id)

    def view(self, generation_ids: Collection[str] = ()) -> dict[str, Any]:
        """All rows and the total ever billed, or those asked for and their sum; USD as strings."""
        if not generation_ids:
            return _view(self._generations.values(), self.total)
        found = [self._generations[one] for one in generation_ids if one in self._generations]
        return _view(found, sum((generation.billed for generation in found), Decimal(0)))

    def clear(self) -> None:
        self._generations.clear()
        self.total = Decimal(0)


def _view(generations: Iterable[Generation], total: Decimal) -> dict[str, Any]:
    rows = [generation.bill_row() for generation in generations]
    return {"total": format(total, "f"), "count": len(rows), "generations": rows}
