"""What should be in the vendor's cache by now: our own marks, replayed through the vendor's rules."""

from dataclasses import dataclass

from app.openrouter.cache_rhythm import Bounded

Entry = tuple[float, float]
"""Seconds it lives after a use, and when it ends."""
Mark = tuple[int, float]
"""Block and lifetime in seconds."""


@dataclass(frozen=True, slots=True)
class Live:
    """The deepest prefix that should be found, and how long it lives after a use."""

    block: int
    seconds: float


class Shadow:
    """Entries by model and prefix."""

    def __init__(self, *, most: int = 50_000) -> None:
        self._entries: Bounded[tuple[str, int], Entry] = Bounded(most)

    def deepest(self, model: str, prefixes: list[int], now: float) -> Live | None:
        """Seen from the end of the prompt."""
        entries = self._entries
        for block in range(len(prefixes) - 1, -1, -1):
            entry = entries.get((model, prefixes[block]))
            if entry is not None and now <= entry[1]:
                return Live(block, entry[0])
        return None

    def drop(self, model: str, prefix: int) -> None:
        self._entries.pop((model, prefix), None)

    def note(self, model: str, prefix: int, seconds: float, now: float) -> None:
        """An entry that the vendor has shown to be there."""
        self._entries.put((model, prefix), (seconds, now + seconds))

    def replay(self, model: str, prefixes: list[int], marks: list[Mark], hit: Live | None, now: float) -> None:
        """What a request with these marks leaves behind; `hit` is the prefix it read.

        What is written behind a read prefix lives no longer than that one, and what is marked before it is renewed.
        """
        entries = self._entries
        most = hit.seconds if hit is not None else float("inf")
        if hit is not None:
            entries.put((model, prefixes[hit.block]), (hit.seconds, now + hit.seconds))
        for block, seconds in marks:
            key = (model, prefixes[block])
            entry = entries.get(key)
            lasts = min(seconds, most)
            if entry is not None and now <= entry[1]:
                lasts = entry[0] if hit is not None and block <= hit.block else max(lasts, entry[0])
            entries.put(key, (lasts, now + lasts))
