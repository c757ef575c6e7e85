"""The connection to a Valkey or Redis server that is useful but not needed: while it fails, nobody waits for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 5.0
"""How long a server that failed is left alone."""
TIMEOUT_SECONDS = 1.0
MAX_CONNECTIONS = 16

Word = str | int | float | bytes


class SharedStore:
    """Asks the server; the answer is ``None`` while it gives none, with a warning each time it was tried."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        # Here and not above: the package is an extra that only this setting needs.
        from valkey.asyncio import BlockingConnectionPool, Valkey
        from valkey.exceptions import ValkeyError

        pool = BlockingConnectionPool.from_url(
            url, max_connections=MAX_CONNECTIONS, timeout=TIMEOUT_SECONDS, socket_timeout=TIMEOUT_SECONDS
        )
        self._client = Valkey.from_pool(pool)
        self._scripts: dict[str, Callable[..., Awaitable[Any]]] = {}
        self._errors = (ValkeyError, OSError, TimeoutError)
        # A queue of our own before the pool: its waiting ends with an error, and a rush is no fault of the server's.
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self._clock = clock
        self._paused_until = 0.0
        self._errands: set[asyncio.Task[Any]] = set()

    async def run(self, script: str, key: str, *arguments: Word) -> Any | None:
        """What a Lua script returns (never nil); the server keeps the script after the first time."""
        if script not in self._scripts:
            self._scripts[script] = self._client.register_script(script)
        return await self._ask(self._scripts[script], keys=[key], args=arguments)

    async def command(self, *words: Word) -> Any | None:
        """What a command answers."""
        return await self._ask(self._client.execute_command, *words)

    def send(self, *words: Word) -> asyncio.Task[Any]:
        """Have a command done without waiting for it; the task ends when it is done."""
        errand = asyncio.create_task(self.command(*words))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)
        return errand

    async def aclose(self) -> None:
        """Finish what was sent, then disconnect."""
        await asyncio.gather(*self._errands)
        await self._client.aclose()

    async def _ask(self, question: Callable[..., Awaitable[Any]], *words: Word, **named: Any) -> Any | None:
        async with self._turns:
            if self._clock() < self._paused_until:
                return None
            try:
                return await question(*words, **named)
            except self._errors as error:
                self._paused_until = self._clock() + PAUSE_SECONDS
                # Never the error's own text: it may hold what the URL holds.
                log.warning("coordination.unavailable", kind=type(error).__name__, retry_in_seconds=PAUSE_SECONDS)
                return None
