"""Sticky routing: a conversation stays with the host that has its prompt cached."""

import hashlib

from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.clock import Clock

IDLE_SECONDS = 600.0
MAX_PINS = 100_000
Key = tuple[str, str, str]
"""Account, model, conversation."""


class StickyRoutes:
    """Pins that expire after ten idle minutes; each success restarts the clock, failures leave it alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pins: dict[Key, tuple[str, float]] = {}

    def pinned(self, key: Key) -> str | None:
        """The provider's name, or None."""
        provider, used_at = self._pins.get(key, (None, 0.0))
        return provider if self._clock.now() - used_at < IDLE_SECONDS else None

    def remember(self, key: Key, host: Host, *, has_session: bool, cached_tokens: int) -> None:
        """Pin after a success: always with a session id, else only after a cache hit; never to a host without cache."""
        if host.caches and (has_session or cached_tokens):
            self._pins[key] = (host.name, self._clock.now())
        if len(self._pins) > MAX_PINS:
            self._pins = {one: self._pins[one] for one in self._pins if self.pinned(one)}


def conversation_of(request: ChatRequest, session_header: str | None) -> tuple[str, bool]:
    """The conversation's identity, and whether the caller named it by a session id."""
    session = request.session_id or session_header
    if session:
        return session, True
    if request.prompt_cache_key:
        return request.prompt_cache_key, False
    system = next((message for message in request.messages if message.role in ("system", "developer")), None)
    other = next((message for message in request.messages if message.role not in ("system", "developer")), None)
    opening = f"{system and system.parts!r}\x00{other and other.parts!r}"
    return hashlib.sha256(opening.encode(errors="surrogatepass")).hexdigest(), False
