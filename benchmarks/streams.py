"""What running answers keep in memory, and what the app adds to the first token: `python benchmarks/streams.py`.

The app, the emulator and the readers are processes and sockets of their own, on the loopback address and SQLite. Memory
is the resident memory of the app's process. A slow reader takes fewer bytes than the answer makes.
"""

import asyncio
import json
import resource
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

import aiohttp
from sqlalchemy import func, select

from app.core.config import Settings
from app.core.logging import configure_logging
from app.db.models import Message
from app.services.assembly import Services
from benchmarks.turns import (
    Asker,
    accounts,
    app_process,
    ask,
    ask_all,
    ask_upstream,
    chat_body,
    memory_kilobytes,
    until_ready,
)
from tests.emulator.process import EmulatorProcess, start_emulator
from tests.support.databases import SQLiteTemplates
from tests.support.served import make_settings

WARM_UP, STREAMS, SLOW_STREAMS = 50, 500, 2_000
GOAL_KILOBYTES = 35
MOST_MEGABYTES = 250
"""That 2,000 answers with slow readers may add to one process."""
TOKENS = 80
"""Of each slow answer, at one a second: all of them run together before the first one ends."""
AT_ONCE = 10
"""Questions that open at the same time, one an account."""
SLOW_BYTES = 32
"""What a slow reader takes in a second: about half an event."""
FIRST_TOKENS = 100
OTHER_FILES = 200
LONGEST_SECONDS = 240.0


def open_files() -> int:
    """As many as the system lets a process have; the app is started with the same limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class SlowReader:
    """A socket with a small buffer that is read a few bytes at a time."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname or "", urlsplit(url).port or 0
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)

    async def ask(self, asker: Asker) -> None:
        """Ask, and read the head of the answer."""
        body = json.dumps(chat_body(asker, stream=True) | {"max_tokens": TOKENS})
        head = f"POST /api/v1/chat HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {asker.token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, (self._host, self._port))
        await loop.sock_sendall(self._socket, (head + body).encode())
        begun = await loop.sock_recv(self._socket, 64)
        if not begun.startswith(b"HTTP/1.1 200 "):
            raise SystemExit((begun + await loop.sock_recv(self._socket, 1_000)).decode())

    async def read_slowly(self) -> None:
        """Take a little each second, until the other side is through or the reader is cancelled."""
        loop = asyncio.get_running_loop()
        while await loop.sock_recv(self._socket, SLOW_BYTES):  # noqa: ASYNC110 - slowness is what it is for
            await asyncio.sleep(1)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Bench:
    """An app and an emulator, being measured."""

    def __init__(self, settings: Settings, emulator: EmulatorProcess, askers: list[Asker], pid: int, url: str) -> None:
        self.settings, self.emulator, self.askers, self.pid, self.url = settings, emulator, askers, pid, url

    async def memory_of_a_stream(self, client: aiohttp.ClientSession) -> None:
        """Streams at a token a second, read as they come."""
        self.emulator.configure(tokens_per_second=1.0)
        for count in (WARM_UP, STREAMS):  # the first ones fill pools and caches
            before = memory_kilobytes(self.pid)
            running = await self._ask_many(client, count)
            await asyncio.sleep(5)
            grown = (memory_kilobytes(self.pid) - before) / count
            await self._hang_up(running)
        print(f"a running stream: {grown:.0f} KB ({STREAMS} at once; goal {GOAL_KILOBYTES} KB)", flush=True)

    async def first_tokens(self, client: aiohttp.ClientSession, *, beside: int) -> None:
        """One stream after the other, through the app and past it in turn, while others run at 20 tokens a second."""
        self.emulator.configure(tokens_per_second=20.0)
        running = await self._ask_many(client, beside)
        self.emulator.configure(tokens_per_second=0.0)
        through, past = [], []
        for number in range(FIRST_TOKENS):
            asker = self.askers[number % len(self.askers)]
            through.append((await ask(client, self.url, asker, stream=True))[1])
            past.append(await ask_upstream(client, self.emulator))
        await self._hang_up(running)
        added = statistics.median(through) - statistics.median(past)
        slowest = statistics.quantiles(through, n=20)[-1]
        print(
            f"first token beside {beside} running streams: {added * 1000:.1f} ms added (median of {FIRST_TOKENS}), "
            f"{slowest * 1000:.1f} ms in all at the slowest twentieth",
            flush=True,
        )

    async def slow_readers(self, count: int) -> None:
        """Many answers whose readers do not keep up: what they add, and that they hold up no answer."""
        self.emulator.configure(tokens_per_second=1.0)
        before, completed = memory_kilobytes(self.pid), await self._completed()
        readers, started = [SlowReader(self.url) for _ in range(count)], time.perf_counter()
        await self._at_once([reader.ask(self.askers[number % AT_ONCE]) for number, reader in enumerate(readers)])
        opened = time.perf_counter() - started
        reading = [asyncio.create_task(reader.read_slowly()) for reader in readers]
        running = (memory_kilobytes(self.pid) - before) / 1_000
        still_running = count - (await self._completed() - completed)
        while (done := await self._completed() - completed) < count:
            if time.perf_counter() - started > LONGEST_SECONDS:
                raise SystemExit(f"only {done} of {count} answers ended, although nobody has to wait for their readers")
            await asyncio.sleep(2)
        ended = (memory_kilobytes(self.pid) - before) / 1_000
        behind = sum(not each.done() for each in reading)
        await self._hang_up(reading)
        for reader in readers:
            reader.close()
        print(
            f"{count} streams with slow readers (opened in {opened:.0f} s): {running:.0f} MB "
            f"while {still_running} ran, "
            f"{ended:.0f} MB when all had ended and {behind} were still being read "
            f"({max(running, ended) * 1_000 / count:.0f} KB each; at most {MOST_MEGABYTES} MB)",
            flush=True,
        )
        if max(running, ended) > MOST_MEGABYTES * count / SLOW_STREAMS:
            raise SystemExit("that is more memory than stated")

    async def _ask_many(self, client: aiohttp.ClientSession, count: int) -> list[asyncio.Task[object]]:
        """So many streams, opened a few at a time, each read by a task."""
        tasks: list[asyncio.Task[object]] = []

        async def begin(asker: Asker) -> None:
            headers = {"Authorization": f"Bearer {asker.token}"}
            answer = await client.post(f"{self.url}/api/v1/chat", json=chat_body(asker, stream=True), headers=headers)
            await answer.content.readany()
            tasks.append(asyncio.create_task(answer.read()))

        await self._at_once([begin(self.askers[number % AT_ONCE]) for number in range(count)])
        return tasks

    async def _at_once(self, work: list) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(each: object) -> None:
            async with turns:
                await each  # type: ignore[misc]

        await asyncio.gather(*map(one, work))

    async def _hang_up(self, running: list) -> None:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _completed(self) -> int:
        services = Services.build(self.settings)
        query = select(func.count()).select_from(Message)
        query = query.where(Message.role == "assistant", Message.status == "completed")
        async with services.database.read_only() as uow:
            count: int = (await uow._session.execute(query)).scalar_one()
        await services.database.close()
        return count


async def main() -> None:
    """Print everything, each part on a process of its own: what one left behind is not the next one's."""
    configure_logging(level="WARNING", style="console")
    slow = min(SLOW_STREAMS, (open_files() - OTHER_FILES) // 2)
    if slow < SLOW_STREAMS:
        print(f"only {slow} slow streams: the system lets a process open {open_files()} files")
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        emulator = running.enter_context(start_emulator("--tokens-per-second", "0", "--first-token-delay", "0"))
        settings = make_settings(
            database_url=await SQLiteTemplates(folder).make(), data_dir=folder, openrouter_url=emulator.base_url
        )
        async with accounts(settings) as askers, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            for part in ("memory", "first tokens", "slow readers"):
                with app_process(settings, folder) as (pid, url):
                    await until_ready(url)
                    emulator.configure(tokens_per_second=0.0)
                    await ask_all(http, url, askers, turns=100, stream=True)
                    bench = Bench(settings, emulator, askers, pid, url)
                    if part == "memory":
                        await bench.memory_of_a_stream(http)
                    elif part == "first tokens":
                        await bench.first_tokens(http, beside=0)
                        await bench.first_tokens(http, beside=100)
                    else:
                        await bench.slow_readers(slow)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
