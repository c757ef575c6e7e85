"""Seats: at most so many things of a key at the same time; each is left when it ends."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

Leave = Callable[[], None]
"""Gives a seat up. Whoever holds it calls it exactly once."""


class Seats(Protocol):
    """Where seats are kept."""

    async def take(self, key: str, *, limit: int, seconds: float) -> Leave | None:
        """A seat, or ``None`` when all are taken. Shared seats of a process that died are free after ``seconds``."""
        ...


class MemorySeats:
    """Seats of this process: they end with it, so ``seconds`` means nothing here."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    async def take(self, key: str, *, limit: int, seconds: float) -> Leave | None:
        """See :meth:`Seats.take`."""
        if self._taken[key] >= limit:
            return None
        self._taken[key] += 1
        return lambda: self._leave(key)

    def _leave(self, key: str) -> None:
        self._taken[key] -= 1
        if self._taken[key] <= 0:
            del self._taken[key]
