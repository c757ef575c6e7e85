"""One place that decides where shared state lives: in this process, or on the server a URL names."""

import time
from collections.abc import Callable

from app.coordination.seats import MemorySeats, Seats
from app.coordination.shared import SharedSeats, SharedWindows
from app.coordination.shared_store import SharedStore
from app.coordination.streams import SharedStreams
from app.coordination.windows import MemoryWindows, Windows
from app.core.config import get_settings


class Coordination:
    """Windows and seats. Nothing connects before the first of them is asked."""

    def __init__(self, url: Callable[[], str | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._store: SharedStore | None = None
        self._windows: Windows | None = None
        self._seats: Seats | None = None
        self._streams: SharedStreams | None = None

    @property
    def windows(self) -> Windows:
        """Where requests are counted."""
        if self._windows is None:
            store = self._shared_store()
            self._windows = SharedWindows(store) if store else MemoryWindows(self._clock)
        return self._windows

    @property
    def seats(self) -> Seats:
        """Where running answers are counted."""
        if self._seats is None:
            store = self._shared_store()
            self._seats = SharedSeats(store) if store else MemorySeats()
        return self._seats

    @property
    def streams(self) -> SharedStreams | None:
        """What processes tell each other; ``None`` where they share no server."""
        if self._streams is None and (store := self._shared_store()):
            self._streams = SharedStreams(store)
        return self._streams

    async def aclose(self) -> None:
        """Disconnect; a later use connects anew. What this process counted by itself is forgotten."""
        streams, self._streams = self._streams, None
        if streams is not None:
            await streams.aclose()
        store, self._store, self._windows, self._seats = self._store, None, None, None
        if store is not None:
            await store.aclose()

    def _shared_store(self) -> SharedStore | None:
        if self._store is None and (url := self._url()):
            self._store = SharedStore(url)
        return self._store


def _configured_url() -> str | None:
    return get_settings().resolved_redis_url


coordination = Coordination(_configured_url)
