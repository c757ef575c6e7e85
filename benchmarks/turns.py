"""CPU of the app's process for a whole turn and for a streamed chunk: `python benchmarks/turns.py [database-url]`.

The emulator answers at full speed from a process of its own; CPU time is read from the operating system, so that the
figures mean something on a busy machine too. The database is SQLite unless a URL is given.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

import httpx2

from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.emulator.process import start_emulator
from tests.support.databases import prepare
from tests.support.served import TEST_JWT_SECRET, TEST_KEY, make_settings

CLIENTS = 10
TURNS = 600
STREAMS = 40


def cpu_seconds(pid: int) -> float:
    """User and system time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_megabytes(pid: int) -> float:
    """Resident memory of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def until_ready(url: str) -> None:
    """Wait for the server."""
    async with httpx2.AsyncClient(base_url=url) as client:
        for _ in range(600):
            with suppress(httpx2.TransportError):
                if (await client.get("/health/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise SystemExit("the app did not come up")


async def run(database_url: str, folder: Path) -> None:
    """Start everything, ask, print."""
    await prepare(database_url)
    with start_emulator("--tokens-per-second", "0", "--first-token-delay", "0") as emulator:
        settings = make_settings(database_url=database_url, data_dir=folder, openrouter_url=emulator.base_url)
        services = Services.build(settings)
        user = await services.auth.register(email="b@example.com", password="long enough", plan=PlanTier.ENTERPRISE)
        conversations = [str((await services.conversations.create(user.id)).id) for _ in range(CLIENTS)]
        token = (await services.auth.login(email="b@example.com", password="long enough")).access_token
        await services.aclose()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = os.environ | {
            "DATABASE_URL": database_url,
            "DATA_DIR": str(folder),
            "JWT_SECRET": TEST_JWT_SECRET,
            "OPENROUTER_API_KEY": TEST_KEY,
            "OPENROUTER_BASE_URL": emulator.base_url,
            "LLM_HISTORY_MESSAGES": "10",
            "RATE_LIMITS_ENABLED": "false",
            "MAX_RUNNING_ANSWERS_PER_USER": "1000",
            "LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--no-access-log"]
        started = time.perf_counter()
        with subprocess.Popen(command, env=environment, cwd=folder) as app:  # noqa: S603
            url = f"http://127.0.0.1:{port}"
            try:
                await until_ready(url)
                print(f"start of the app: {time.perf_counter() - started:.1f} s, {memory_megabytes(app.pid):.0f} MB")
                headers = {"Authorization": f"Bearer {token}"}
                async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
                    await ask(client, conversations, turns=50, stream=False)  # warm up
                    await report("non-stream turn", client, conversations, app.pid, turns=TURNS, stream=False)
                    await report("streamed turn", client, conversations, app.pid, turns=STREAMS, stream=True)
            finally:
                app.terminate()


async def ask(client: httpx2.AsyncClient, conversations: list[str], *, turns: int, stream: bool) -> int:
    """Ask ``turns`` questions with all clients at once; how many content events came."""
    chunks = 0

    async def one(conversation_id: str) -> None:
        nonlocal chunks
        for _ in range(turns // len(conversations)):
            body = {"conversation_id": conversation_id, "message": "What is patience?", "stream": stream}
            body |= {"model": "openai/gpt-4o", "fallback_models": []}
            answer = await client.post("/api/v1/chat", json=body)
            answer.raise_for_status()
            chunks += answer.text.count("event: content.delta")

    await asyncio.gather(*(one(each) for each in conversations))
    return chunks


async def report(
    name: str, client: httpx2.AsyncClient, conversations: list[str], pid: int, *, turns: int, stream: bool
) -> None:
    """One line of figures."""
    before, started = cpu_seconds(pid), time.perf_counter()
    chunks = await ask(client, conversations, turns=turns, stream=stream)
    cpu, elapsed = cpu_seconds(pid) - before, time.perf_counter() - started
    line = f"{name}: {cpu / turns * 1000:.2f} ms CPU, {turns / elapsed:.0f} turns/s with {len(conversations)} clients"
    print(line + (f", {cpu / chunks * 1e6:.0f} µs CPU a chunk ({chunks // turns} chunks a turn)" if chunks else ""))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        given = sys.argv[1] if len(sys.argv) > 1 else f"sqlite+aiosqlite:///{name}/bench.db"
        asyncio.run(run(given, Path(name)))
