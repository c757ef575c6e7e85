"""Moving windows: at most so many units of a key within the last so many seconds, however many ask at once."""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Taken(NamedTuple):
    """How a window stands after somebody asked.

    ``reset_seconds``: until its oldest unit leaves it or, where it is full, until one more fits; 0 when it is empty.
    """

    accepted: bool
    remaining: int
    reset_seconds: float


class Windows(Protocol):
    """Where windows are kept. A key is always asked with the same ``seconds``; its ``limit`` may change."""

    async def take(self, key: str, *, limit: int, seconds: int, units: int = 1) -> Taken:
        """Take ``units`` (0 only looks) if they fit; what is refused leaves no trace."""
        ...

    async def give_back(self, key: str) -> None:
        """Take the newest unit out again."""
        ...

    async def clear(self, key: str) -> None:
        """Empty the window."""
        ...


class MemoryWindows:
    """Windows of this process. A check costs some microseconds and never waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, deque[float]] = {}  # the instants at which units leave, oldest first
        self._sweep_at = 1_024

    async def take(self, key: str, *, limit: int, seconds: int, units: int = 1) -> Taken:
        """See :meth:`Windows.take`."""
        now = self._clock()
        entries = self._entries.get(key)
        if entries is None:
            entries = deque()
            if units:
                self._sweep_when_grown(now)
                self._entries[key] = entries
        _drop_gone(entries, now)
        accepted = len(entries) + units <= limit
        if accepted:
            entries.extend([now + seconds] * units)
        surplus = max(0, len(entries) - limit)  # the limit may have been lowered
        return Taken(accepted, max(0, limit - len(entries)), entries[surplus] - now if entries else 0.0)

    async def give_back(self, key: str) -> None:
        """See :meth:`Windows.give_back`."""
        if entries := self._entries.get(key):
            entries.pop()

    async def clear(self, key: str) -> None:
        """See :meth:`Windows.clear`."""
        self._entries.pop(key, None)

    def _sweep_when_grown(self, now: float) -> None:
        # Whenever the number of keys has doubled: a constant price a key, and no task that wakes up for nothing.
        if len(self._entries) < self._sweep_at:
            return
        self._entries = {key: entries for key, entries in self._entries.items() if entries and entries[-1] > now}
        self._sweep_at = max(1_024, 2 * len(self._entries))


def _drop_gone(entries: deque[float], now: float) -> None:
    while entries and entries[0] <= now:
        entries.popleft()
