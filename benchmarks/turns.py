"""What a turn costs the app's process, on both databases: `python benchmarks/turns.py [sqlite|postgresql ...]`.

The app, the emulator, the database and the clients are processes of their own; the app's CPU time, of all its threads,
is read from the operating system, so that the figures mean something on a busy machine too. PostgreSQL is the one named
by TEST_DATABASE_URL, else one from the wheel; only the latter's CPU time can be told.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

import aiohttp
from sqlalchemy import event
from sqlalchemy.engine import make_url

from app.core.config import Settings
from app.core.logging import configure_logging
from app.db.database import Database
from app.domain.plans import PlanTier
from app.services.assembly import Services
from app.services.chat_turn import Question
from tests.emulator.process import EmulatorProcess, start_emulator
from tests.support.databases import PostgresTemplates, SQLiteTemplates, Templates, find_postgres
from tests.support.served import TEST_JWT_SECRET, TEST_KEY, make_settings

CLIENTS = 10
TURNS = 1_000
PACED_STREAMS = 40
TOKENS_PER_SECOND = 40.0
OPEN_STREAMS = 300
FIRST_TOKENS = 150
PEOPLE = 10
MODEL = "openai/gpt-4o"


@dataclass(frozen=True)
class Asker:
    """Somebody with a conversation."""

    token: str
    conversation_id: str


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of one process, those that have ended too."""
    return time.clock_gettime((~pid << 3) | 2)  # the clock that Linux keeps for the process


def memory_kilobytes(pid: int) -> float:
    """Resident memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e3


def count_statements(database: Database) -> list[str]:
    """A list that grows with each statement the database is sent, BEGIN and COMMIT among them."""
    seen: list[str] = []
    engine = database.engine.sync_engine

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    if engine.dialect.name == "postgresql":

        @event.listens_for(engine, "connect")
        def listen(connection: Any, _record: Any) -> None:
            # Tells of what is not prepared: BEGIN, COMMIT, ROLLBACK, none of which is sent where nothing was begun.
            connection.driver_connection.add_query_logger(lambda record: seen.append(record.query))
    else:
        event.listen(engine, "commit", lambda _: seen.append("COMMIT"))
        event.listen(engine, "rollback", lambda _: seen.append("ROLLBACK"))
    return seen


async def show_statements(settings: Settings, asker_id: Any, conversation_id: Any, token: str) -> str:
    """How many statements, that is round trips, each part of a turn takes."""
    services = Services.build(settings)
    seen = count_statements(services.database)
    parts: dict[str, int] = {}
    for _ in range(3):  # the first one connects and prepares
        seen.clear()
        await services.auth.authenticate(token)
        parts["to authenticate"] = len(seen)
        seen.clear()
        question = Question(content="What is patience?", model=MODEL, fallback_models=())
        answer = await services.chat.ask(asker_id, conversation_id, question)
        parts["to open"] = len(seen)
        seen.clear()
        await answer.wait_for_reply()
        parts["to close"] = len(seen)
    await services.aclose()
    return ", ".join(f"{count} {part}" for part, count in parts.items())


async def until_ready(url: str) -> None:
    """Wait for the server."""
    async with aiohttp.ClientSession() as client:
        for _ in range(600):
            with suppress(aiohttp.ClientError):
                async with client.get(f"{url}/health/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
    raise SystemExit("the app did not come up")


@contextmanager
def app_process(settings: Settings, folder: Path) -> Iterator[tuple[int, str]]:
    """The app as operators run it; its process id and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src"),
        "DATABASE_URL": settings.database_url,
        "DATA_DIR": str(folder),
        "JWT_SECRET": TEST_JWT_SECRET,
        "OPENROUTER_API_KEY": TEST_KEY,
        "OPENROUTER_BASE_URL": str(settings.openrouter_base_url),
        "LLM_HISTORY_MESSAGES": "10",
        "SUMMARISE_CONTEXT": "false",
        "API_REQUESTS_PER_MINUTE": "1000000",
        "MAX_RUNNING_ANSWERS_PER_USER": "1000",
        "SHUTDOWN_GRACE_SECONDS": "0",
        "LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=folder) as app:  # noqa: S603
        try:
            yield app.pid, f"http://127.0.0.1:{port}"
        finally:
            app.terminate()


def chat_body(asker: Asker, *, stream: bool) -> dict[str, Any]:
    """A question."""
    body = {"conversation_id": asker.conversation_id, "message": "What is patience?", "stream": stream}
    return body | {"model": MODEL, "fallback_models": []}


async def ask(client: aiohttp.ClientSession, url: str, asker: Asker, *, stream: bool) -> tuple[int, float]:
    """One turn: how many pieces of content came, and seconds to the first."""
    started, first, chunks = time.perf_counter(), 0.0, 0
    headers = {"Authorization": f"Bearer {asker.token}"}
    async with client.post(f"{url}/api/v1/chat", json=chat_body(asker, stream=stream), headers=headers) as answer:
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {await answer.text()}")
        async for piece in answer.content.iter_any():
            found = piece.count(b"event: content.delta")
            if found and not chunks:
                first = time.perf_counter() - started
            chunks += found
    return chunks, first


async def ask_upstream(client: aiohttp.ClientSession, emulator: EmulatorProcess) -> float:
    """Seconds to the first piece of content without the app in between."""
    started = time.perf_counter()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "What is patience?"}], "stream": True}
    first = 0.0
    async with client.post(
        f"{emulator.base_url}/chat/completions", json=body, headers={"Authorization": f"Bearer {TEST_KEY}"}
    ) as answer:
        async for piece in answer.content.iter_any():
            if not first and b'"content":"' in piece:
                first = time.perf_counter() - started
    return first


async def ask_all(client: aiohttp.ClientSession, url: str, askers: list[Asker], *, turns: int, stream: bool) -> int:
    """``turns`` turns, all askers at once; how many pieces of content came."""

    async def one(asker: Asker) -> int:
        return sum([(await ask(client, url, asker, stream=stream))[0] for _ in range(turns // len(askers))])

    return sum(await asyncio.gather(*(one(each) for each in askers)))


@dataclass
class Bench:
    """One app on one database, being measured."""

    pid: int
    url: str
    client: aiohttp.ClientSession
    askers: list[Asker]
    emulator: EmulatorProcess
    database_pids: Callable[[], list[int]]
    turn_ms: float = 0.0

    async def cpu_of(self, work: Awaitable[int]) -> tuple[float, float, float, int]:
        """CPU seconds of the app and of the database, seconds that passed, and what ``work`` returned."""
        before, started = cpu_seconds(self.pid), time.perf_counter()
        pids = self.database_pids()
        database = {pid: cpu_seconds(pid) for pid in pids}
        result = await work
        elapsed, used = time.perf_counter() - started, cpu_seconds(self.pid) - before
        return used, sum(cpu_seconds(pid) - database[pid] for pid in pids), elapsed, result

    async def whole_turns(self) -> None:
        """Turns without a stream."""
        work = ask_all(self.client, self.url, self.askers, turns=TURNS, stream=False)
        cpu, database, elapsed, _ = await self.cpu_of(work)
        self.turn_ms = cpu / TURNS * 1000
        line = f"  non-stream turn: {self.turn_ms:.2f} ms CPU, {TURNS / elapsed:.0f} turns/s with {CLIENTS} clients"
        print(line + (f", database {database / TURNS * 1000:.2f} ms CPU" if database else ""), flush=True)

    async def streamed_turns(self) -> None:
        """Streams as fast as they come, then at the pace of a model, where each piece comes by itself."""
        for pace, turns in ((0.0, 4 * PACED_STREAMS), (TOKENS_PER_SECOND, PACED_STREAMS)):
            self.emulator.configure(tokens_per_second=pace)
            askers = self.askers if not pace else self.askers * (PACED_STREAMS // len(self.askers))
            work = ask_all(self.client, self.url, askers, turns=turns, stream=True)
            cpu, _, elapsed, chunks = await self.cpu_of(work)
            of_chunks = (cpu - turns * self.turn_ms / 1000) / chunks
            name = f"paced ({len(askers)} at once, {pace:.0f} a second)" if pace else "at full speed"
            print(
                f"  streamed turn, {name}: {cpu / turns * 1000:.2f} ms CPU in {elapsed:.1f} s; "
                f"{cpu / chunks * 1e6:.0f} µs a chunk with its turn, {of_chunks * 1e6:.0f} µs without "
                f"({chunks // turns} chunks a turn)",
                flush=True,
            )
        self.emulator.configure(tokens_per_second=0.0)

    async def first_tokens(self) -> None:
        """One stream at a time, through the app and past it, in turn."""
        through, past = [], []
        for number in range(FIRST_TOKENS):
            through.append((await ask(self.client, self.url, self.askers[number % len(self.askers)], stream=True))[1])
            past.append(await ask_upstream(self.client, self.emulator))
        added = statistics.median(through) - statistics.median(past)
        print(f"  added time to first token: {added * 1000:.1f} ms (median of {FIRST_TOKENS})", flush=True)

    async def open_streams(self) -> None:
        """What an open stream keeps in memory."""
        self.emulator.configure(tokens_per_second=1.0)
        for count in (50, OPEN_STREAMS):  # the first ones fill pools and caches
            before = memory_kilobytes(self.pid)
            streams = [
                asyncio.create_task(ask(self.client, self.url, self.askers[number % len(self.askers)], stream=True))
                for number in range(count)
            ]
            await asyncio.sleep(6)
            grown = memory_kilobytes(self.pid) - before
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        print(f"  an open stream: {grown / OPEN_STREAMS:.0f} KB ({OPEN_STREAMS} at once)", flush=True)


@asynccontextmanager
async def accounts(settings: Settings) -> AsyncIterator[list[Asker]]:
    """People who have asked something before, so that there is a history; prints what a turn sends."""
    services = Services.build(settings)
    askers = []
    for number in range(PEOPLE):
        email = f"b{number}@example.com"
        user = await services.auth.register(email=email, password="long enough", plan=PlanTier.ENTERPRISE)
        conversation = await services.conversations.create(user.id)
        token = (await services.auth.login(email=email, password="long enough")).access_token
        askers.append(Asker(token, str(conversation.id)))
    await services.aclose()
    print(f"  statements: {await show_statements(settings, user.id, conversation.id, token)}", flush=True)
    yield askers


async def measure(name: str, templates: Templates, folder: Path) -> None:
    """Print one database's figures."""
    print(f"{name}:", flush=True)
    url = await templates.make()
    with start_emulator("--tokens-per-second", "0", "--first-token-delay", "0") as emulator:
        settings = make_settings(
            database_url=url,
            data_dir=folder,
            openrouter_url=emulator.base_url,
            llm_history_messages=10,
            summarise_context=False,
        )
        async with accounts(settings) as askers:
            started = time.perf_counter()
            with app_process(settings, folder) as (pid, address):
                await until_ready(address)
                print(f"  start: {time.perf_counter() - started:.1f} s, {memory_kilobytes(pid) / 1000:.0f} MB")
                connector = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(connector=connector) as client:
                    bench = Bench(pid, address, client, askers, emulator, lambda: database_processes(url))
                    await ask_all(client, address, askers, turns=200, stream=False)  # warm up
                    await bench.whole_turns()
                    await bench.streamed_turns()
                    await bench.first_tokens()
                    await bench.open_streams()
    await templates.drop(url)


def database_processes(url: str) -> list[int]:
    """The server processes that work for this database, if they run here."""
    if "postgresql" not in url:
        return []
    database, found = make_url(url).database or "", []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if each.read_bytes().startswith(b"postgres: ") and database.encode() in each.read_bytes():
                found.append(int(each.parent.name))
    return found


async def main(kinds: list[str]) -> None:
    """Print everything."""
    configure_logging(level="WARNING", style="console")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in kinds:
            sqlite = kind == "sqlite"
            await measure(
                "SQLite" if sqlite else "PostgreSQL",
                SQLiteTemplates(folder) if sqlite else PostgresTemplates(find_postgres(f"bench-{os.getpid()}")),
                folder,
            )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["postgresql", "sqlite"]))
