"""Windows and seats on a Valkey or Redis server: exact across processes, one round trip each, by the server's clock.

While the server does not answer, each process counts for itself.
"""

import asyncio
from typing import Any
from uuid import uuid4

from app.coordination.seats import Leave, MemorySeats
from app.coordination.shared_store import SharedStore
from app.coordination.windows import MemoryWindows, Taken

# Sorted sets by instant. The kind and its version stand in the keys: another layout never meets old data.
WINDOW_PREFIX = "wisqu:moving-window:1:"
SEAT_PREFIX = "wisqu:seats:1:"

_TAKE_UNITS = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local limit, seconds, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - seconds)
local used = redis.call('ZCARD', KEYS[1])
local accepted = used + units <= limit
if accepted and units > 0 then
  for unit = 1, units do redis.call('ZADD', KEYS[1], now, ARGV[4] .. unit) end
  redis.call('EXPIRE', KEYS[1], seconds)
  used = used + units
end
local surplus = math.max(0, used - limit)
local first = redis.call('ZRANGE', KEYS[1], surplus, surplus, 'WITHSCORES')[2]
return {accepted and 1 or 0, math.max(0, limit - used), tostring(first and first + seconds - now or 0)}
"""

_TAKE_SEAT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[2]))
return 1
"""


class SharedWindows:
    """Windows that all processes on one server share; see :class:`~app.coordination.windows.Windows`."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._meanwhile = MemoryWindows()

    async def take(self, key: str, *, limit: int, seconds: int, units: int = 1) -> Taken:
        """Take ``units`` (0 only looks) if they fit; what is refused leaves no trace."""
        answer = await self._store.run(_TAKE_UNITS, WINDOW_PREFIX + key, limit, seconds, units, uuid4().hex)
        if answer is None:
            return await self._meanwhile.take(key, limit=limit, seconds=seconds, units=units)
        accepted, remaining, reset_seconds = answer
        return Taken(bool(accepted), int(remaining), float(reset_seconds))

    async def give_back(self, key: str) -> None:
        """Take the newest unit out again."""
        if await self._store.command("ZPOPMAX", WINDOW_PREFIX + key) is None:
            await self._meanwhile.give_back(key)

    async def clear(self, key: str) -> None:
        """Empty the window."""
        await self._store.command("DEL", WINDOW_PREFIX + key)
        await self._meanwhile.clear(key)


class SharedSeats:
    """Seats that all processes on one server share; see :class:`~app.coordination.seats.Seats`."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._meanwhile = MemorySeats()
        self._leaving: dict[str, asyncio.Task[Any]] = {}

    async def take(self, key: str, *, limit: int, seconds: float) -> Leave | None:
        """A seat, or ``None`` when all are taken. Those of a process that died are free after ``seconds``."""
        key, seat = SEAT_PREFIX + key, uuid4().hex
        if (leaving := self._leaving.get(key)) is not None:
            await asyncio.wait((leaving,))  # who just left must not stand in the way of who comes back
        answer = await self._store.run(_TAKE_SEAT, key, limit, seconds, seat)
        if answer is None:
            return await self._meanwhile.take(key, limit=limit, seconds=seconds)
        return (lambda: self._leave(key, seat)) if answer else None

    def _leave(self, key: str, seat: str) -> None:
        leaving = self._leaving[key] = self._store.send("ZREM", key, seat)
        leaving.add_done_callback(lambda _: self._forget(key, leaving))

    def _forget(self, key: str, leaving: asyncio.Task[Any]) -> None:
        if self._leaving.get(key) is leaving:
            del self._leaving[key]
