"""What one process learns of caches, all learn: each tells the others its answered prompts, as hashes and counts."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from app.coordination import coordination as default_coordination
from app.coordination.coordination import Coordination
from app.coordination.streams import Entry, SharedStreams
from app.openrouter.cache_sightings import decode_sighting, encode_sighting
from app.openrouter.prompt_cache import CacheTicket, CacheUsage
from app.services.openrouter_service import OpenRouterService, openrouter_service

# The kind and its version stand in the key: another layout never meets old data.
SIGHTINGS_KEY = "wisqu:cache-sightings:1"


class CacheExchange:
    """Connects the planners of all processes on one server. Without a server each learns by itself."""

    def __init__(self, *, openrouter: OpenRouterService, coordination: Coordination, key: str = SIGHTINGS_KEY) -> None:
        self._openrouter = openrouter
        self._coordination = coordination
        self._key = key
        self._sender = uuid4().hex
        self._told = 0
        self._heard: dict[str, int] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._in_order = asyncio.Lock()

    async def start(self) -> None:
        """Learn what the others told last, and from now on tell and listen."""
        streams = self._coordination.streams
        if streams is None:
            return
        self._hear(await streams.read(self._key))
        streams.listen(self._key, self._hear)
        self._openrouter.when_learned = self._tell

    async def aclose(self) -> None:
        """Finish telling what was learned."""
        self._openrouter.when_learned = None
        await asyncio.gather(*self._errands)

    def _tell(self, ticket: CacheTicket, usage: CacheUsage) -> None:
        streams = self._coordination.streams
        sighting = encode_sighting(self._sender, self._told + 1, ticket, usage)
        if streams is None or sighting is None:
            return
        self._told += 1
        errand = asyncio.create_task(self._send(streams, sighting))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _send(self, streams: SharedStreams, sighting: bytes) -> None:
        async with self._in_order:  # a number that overtakes another makes the others pass that one over
            await streams.signal(self._key, "sighting", sighting)

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            sighting = decode_sighting(entry.data)
            # The same one may come again, and one's own always does.
            if sighting is None or sighting.sender == self._sender:
                continue
            if sighting.number > self._heard.get(sighting.sender, 0):
                self._heard[sighting.sender] = sighting.number
                self._openrouter.learn_from(sighting)


cache_exchange = CacheExchange(openrouter=openrouter_service, coordination=default_coordination.coordination)
