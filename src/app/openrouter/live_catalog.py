"""The catalogue kept up to date: what OpenRouter lists now, over what was known when this version was made."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from app.openrouter.catalog import Catalog, shipped_catalog
from app.openrouter.errors import OpenRouterError
from app.openrouter.models import ModelProfile


class LiveCatalog:
    """Asks again when its copy has grown old. While OpenRouter cannot be asked, the last copy serves on."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Iterable[ModelProfile]]],
        *,
        floor: Catalog | None = None,
        max_age: float = 3600.0,
        pause_after_failure: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ages and pauses in seconds. `fetch` is `OpenRouterClient.get_models`."""
        self.catalog = floor or shipped_catalog()
        """The copy at hand, without asking."""
        self.listed: frozenset[str] | None = None
        """The ids OpenRouter listed last; None as long as it was never asked."""
        self.last_error: OpenRouterError | None = None
        self._floor = self.catalog
        self._fetch = fetch
        self._max_age = max_age
        self._pause = pause_after_failure
        self._clock = clock
        self._next_fetch = clock()
        self._lock = asyncio.Lock()

    async def current(self) -> Catalog:
        """The catalogue, asked for anew when it is due; those who come meanwhile wait for the same answer."""
        if self._clock() >= self._next_fetch:
            async with self._lock:
                if self._clock() >= self._next_fetch:
                    await self.refresh()
        return self.catalog

    async def refresh(self) -> Catalog:
        """Ask now. A failure leaves the copy as it is, and `last_error` tells."""
        try:
            models = list(await self._fetch())
        except OpenRouterError as error:
            self.last_error, self._next_fetch = error, self._clock() + self._pause
            return self.catalog
        self.listed = frozenset(model.id for model in models)
        self.catalog = self._floor.updated(models)
        self.last_error, self._next_fetch = None, self._clock() + self._max_age
        return self.catalog
