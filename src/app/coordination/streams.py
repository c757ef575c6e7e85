"""Streams of numbered entries on a Valkey or Redis server: one process writes, any process reads along.

One connection of a process follows all the streams it reads, and its signals; nobody waits on a connection each.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import structlog

from app.coordination.shared_store import SharedStore, Word

log = structlog.get_logger(__name__)

BLOCK_MILLISECONDS = 400
"""How long the server holds a question back that it has no answer to; below the client's own time-out."""
PAUSE_SECONDS = 1.0
"""After the server gave no answer."""
SIGNALS_LOOK_BACK_SECONDS = 30
"""A process that begins to listen hears the signals of this long ago too: none falls between two chairs."""
MOST_SIGNALS = 1_000

# What came twice, because an answer of the server was lost, is written once. A server that lost what came before gets
# nothing that would stand behind a gap: it says where to begin again.
_APPEND = """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and tonumber(string.match(newest[1][1], '^%d+')) or 0
local first = tonumber(ARGV[2])
if first > last + 1 then return last end
for place = 3, #ARGV, 2 do
  local sequence = first + (place - 3) / 2
  if sequence > last then
    redis.call('XADD', KEYS[1], string.format('%d-0', sequence), 'n', ARGV[place], 'd', ARGV[place + 1])
    last = sequence
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return last
"""

# Behind whatever is there; nothing where nothing is.
_APPEND_LAST = """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if not newest[1] then return 0 end
local next = tonumber(string.match(newest[1][1], '^%d+')) + 1
redis.call('XADD', KEYS[1], string.format('%d-0', next), 'n', ARGV[2], 'd', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return next
"""


class Entry(NamedTuple):
    """One entry: its number in the stream (from 1), what kind it is, and its bytes."""

    sequence: int
    name: str
    data: bytes


Receive = Callable[[list[Entry]], None]


@dataclass(slots=True)
class _Followed:
    cursor: str | None
    """``None``: begin a little before now, which only the server knows."""
    receive: Receive


class SharedStreams:
    """Streams under keys of the caller's choice. Where the server does not answer, the answer is ``None``."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._followed: dict[str, _Followed] = {}
        self._bell = f"wisqu:bell:1:{uuid4().hex}"
        self._tail: asyncio.Task[None] | None = None

    async def append(self, key: str, entries: Sequence[Entry], *, keep_seconds: float) -> int | None:
        """Write entries whose numbers follow each other; the number of the newest one that is there then.

        If that is below the first of them, the server has lost what was before, and took nothing. ``None`` while it
        gives no answer. Safe to repeat. The stream is forgotten ``keep_seconds`` after the last that was written.
        """
        words = [word for entry in entries for word in (entry.name, entry.data)]
        seconds = max(1, round(keep_seconds))
        newest = await self._store.run(_APPEND, key, seconds, entries[0].sequence, *words)
        return None if newest is None else int(newest)

    async def append_last(self, key: str, name: str, data: bytes, *, keep_seconds: float) -> None:
        """Write an entry behind the newest one, if there is any."""
        await self._store.run(_APPEND_LAST, key, max(1, round(keep_seconds)), name, data)

    async def read(self, key: str, *, after: int = 0) -> list[Entry]:
        """What the stream holds behind number ``after``."""
        return _entries(await self._store.command("XRANGE", key, f"({after}-0", "+") or [])

    async def exists(self, key: str) -> bool | None:
        """Whether the server holds the stream; ``None`` while it gives no answer."""
        found = await self._store.command("EXISTS", key)
        return None if found is None else bool(found)

    def follow(self, key: str, *, after: int, receive: Receive) -> None:
        """Have every further entry behind ``after`` handed to ``receive``, until :meth:`unfollow`."""
        self._follow(key, f"{after}-0", receive)

    def unfollow(self, key: str) -> None:
        """No more of it."""
        self._followed.pop(key, None)

    async def signal(self, key: str, name: str, data: bytes) -> None:
        """Tell all processes that listen under ``key``."""
        await self._store.command("XADD", key, "MAXLEN", "~", MOST_SIGNALS, "*", "n", name, "d", data)

    def listen(self, key: str, receive: Receive) -> None:
        """Hear the signals under ``key``. The same one may come again: it must do no harm twice."""
        if key not in self._followed:
            self._follow(key, None, receive)

    async def mark(self, key: str, *, seconds: int) -> None:
        """Leave a mark that is there for ``seconds``."""
        await self._store.command("SET", key, 1, "EX", seconds)

    async def is_marked(self, key: str) -> bool:
        """Whether somebody's mark is there."""
        return bool(await self._store.command("EXISTS", key))

    async def aclose(self) -> None:
        """Stop following; the connection is the store's."""
        tail, self._tail = self._tail, None
        self._followed.clear()
        if tail is not None:
            tail.cancel()
            with suppress(asyncio.CancelledError):
                await tail

    def _follow(self, key: str, cursor: str | None, receive: Receive) -> None:
        self._followed[key] = _Followed(cursor, receive)
        if self._tail is None or self._tail.done():
            self._tail = asyncio.create_task(self._follow_all(), name="shared streams")
        else:  # it waits for news of the other streams: ring, so that it asks anew
            self._store.send("XADD", self._bell, "MAXLEN", 1, "*", "n", "", "d", "")

    async def _follow_all(self) -> None:
        bell = _Followed("0-0", lambda _: None)
        while self._followed:
            if not await self._find_beginnings():
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            streams = {key: each for key, each in self._followed.items() if each.cursor} | {self._bell: bell}
            cursors = [each.cursor or "" for each in streams.values()]
            question: tuple[Word, ...] = (
                "XREAD",
                "COUNT",
                500,
                "BLOCK",
                BLOCK_MILLISECONDS,
                "STREAMS",
                *streams,
                *cursors,
            )
            answer = await self._store.command(*question)
            if answer is None:
                await asyncio.sleep(PAUSE_SECONDS)
            for name, rows in answer or ():
                key = name.decode()
                followed = bell if key == self._bell else self._followed.get(key)
                if followed is not None and rows:
                    followed.cursor = rows[-1][0].decode()
                    _hand_over(key, followed.receive, rows)
        await self._store.command("DEL", self._bell)

    async def _find_beginnings(self) -> bool:
        """Where to begin among signals, which bear the server's time: ours may be another. False without an answer."""
        new = [each for each in self._followed.values() if each.cursor is None]
        if new:
            now = await self._store.command("TIME")
            if now is None:
                return False
            since = (int(now[0]) - SIGNALS_LOOK_BACK_SECONDS) * 1000
            for each in new:
                each.cursor = f"{since}-0"
        return True


def _hand_over(key: str, receive: Receive, rows: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
    try:
        receive(_entries(rows))
    except Exception:  # one stream's trouble must not silence the others
        log.exception("streams.not_received", stream=key.partition(":1")[0])


def _entries(rows: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    return [Entry(int(key.partition(b"-")[0]), row[b"n"].decode(), row[b"d"]) for key, row in rows]
