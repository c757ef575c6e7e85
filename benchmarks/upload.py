"""Memory of the app while a large file comes and goes: `python benchmarks/upload.py [database|local|s3 ...]`.

The app, the S3 server and the process that looks at the file are processes of their own. Memory is the resident memory
of the app, read every few milliseconds. Ends with an error where 50 MB add more than :data:`MOST_MEGABYTES`.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

import aiohttp

from app.core.logging import configure_logging
from app.domain.plans import PlanTier
from app.services.assembly import Services
from benchmarks.turns import app_process, cpu_seconds, memory_kilobytes, until_ready
from tests.support.databases import SQLiteTemplates
from tests.support.s3 import KEY, SECRET, start_s3
from tests.support.samples import wav
from tests.support.served import make_settings

MEGABYTE = 1_000_000
FILE_BYTES = 50 * MEGABYTE
PIECE_BYTES = 256 * 1024
MOST_MEGABYTES = 16
RATE = 44_100
STORES = ("database", "local", "s3")


async def pieces(content: memoryview) -> AsyncIterator[bytes]:
    """A form with the file, as a client sends it that reads it from a disk."""
    yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for start in range(0, len(content), PIECE_BYTES):
        yield bytes(content[start : start + PIECE_BYTES])
    yield b"\r\n--edge--\r\n"


class Watch:
    """The most memory that a process has while the block lasts, in megabytes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = self.most = memory_kilobytes(pid) / 1e3

    async def __aenter__(self) -> "Watch":
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, memory_kilobytes(self._pid) / 1e3)
            await asyncio.sleep(0.003)

    @property
    def added(self) -> float:
        """Beyond what it had before."""
        return self.most - self.before


async def send(http: aiohttp.ClientSession, content: bytes) -> str:
    """Upload a recording; its id."""
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    async with http.post("/api/v1/attachments", data=pieces(memoryview(content)), headers=headers) as answer:
        body = await answer.json()
        assert answer.status == 201, body
        return str(body["id"])


async def fetch(http: aiohttp.ClientSession, attachment_id: str) -> int:
    """Download it; how many bytes came."""
    async with http.get(f"/api/v1/attachments/{attachment_id}/content") as answer:
        return sum([len(chunk) async for chunk in answer.content.iter_chunked(PIECE_BYTES)])


async def measure(store: str, folder: Path) -> tuple[float, float]:
    """Upload and download with one store; what either adds to the app's memory, in megabytes."""
    url = await SQLiteTemplates(folder).make()
    settings = make_settings(database_url=url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
    services = Services.build(settings)
    await services.auth.register(email="a@example.com", password="long enough", plan=PlanTier.UNLIMITED)
    tokens = await services.auth.login(email="a@example.com", password="long enough")
    await services.aclose()
    content = wav(FILE_BYTES / RATE / 2, rate=RATE)
    with app_process(settings, folder) as (pid, address):
        await until_ready(address)
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        async with aiohttp.ClientSession(address, headers=headers) as http:
            await fetch(http, await send(http, wav(1.0)))  # what is opened once is open
            started, used = time.perf_counter(), cpu_seconds(pid)
            async with Watch(pid) as up:
                attachment_id = await send(http, content)
            seconds, used = time.perf_counter() - started, cpu_seconds(pid) - used
            async with Watch(pid) as down:
                came = await fetch(http, attachment_id)
            assert came == len(content)
    print(
        f"{store:9} {up.before:5.0f} MB before; {len(content) / MEGABYTE:.0f} MB up: +{up.added:.1f} MB at most "
        f"({seconds:.1f} s, {used:.2f} s of CPU); down: +{down.added:.1f} MB at most"
    )
    return up.added, down.added


def main(stores: list[str]) -> None:
    """Print a line for each store."""
    configure_logging(level="ERROR", style="console")
    added: list[float] = []
    for store in stores or STORES:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            os.environ["IMAGE_STORAGE_TYPE"] = store
            if store == "s3":
                server = stack.enter_context(start_s3())
                server.make_bucket("files")
                os.environ |= {
                    "IMAGE_S3_BUCKET": "files",
                    "IMAGE_S3_ENDPOINT": server.url,
                    "IMAGE_S3_ACCESS_KEY_ID": KEY,
                    "IMAGE_S3_SECRET_ACCESS_KEY": SECRET,
                }
            added += asyncio.run(measure(store, folder))
    if max(added) > MOST_MEGABYTES:
        raise SystemExit(f"a file of {FILE_BYTES / MEGABYTE:.0f} MB adds more than {MOST_MEGABYTES} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
