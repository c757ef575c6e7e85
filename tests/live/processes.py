"""The app in processes of its own, as an operator runs it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2

from app.core.config import Settings
from tests.support.served import NO_CERTIFICATES, TEST_JWT_SECRET, TEST_KEY


@contextmanager
def app_process(
    settings: Settings, *, workers: int = 1, lease_seconds: int = 2
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The app as an operator runs it: `uvicorn app.main:app`, with its settings in the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = ("database_url", "data_dir", "openrouter_base_url", "argon2_time_cost", "argon2_memory_kib")
    environment = {name.upper(): str(getattr(settings, name)) for name in names}
    environment |= {"JWT_SECRET": TEST_JWT_SECRET, "OPENROUTER_API_KEY": TEST_KEY, "LOG_LEVEL": "ERROR"}
    environment |= {
        "QUOTA_LEASE_SECONDS": str(lease_seconds),
        "RECONCILE_INTERVAL_SECONDS": "0.3",
        "RATE_LIMITS_ENABLED": "false",
    }
    environment |= {"MAX_RUNNING_ANSWERS_PER_USER": "1000", "DATABASE_POOL_SIZE": "5"}
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--workers", str(workers)]
    environment = os.environ | environment
    with subprocess.Popen(command, env=environment, cwd=settings.data_dir, start_new_session=True) as process:  # noqa: S603
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the workers of several processes too


async def until_ready(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url, verify=NO_CERTIFICATES) as client:
        for _ in range(400):
            with suppress(httpx2.TransportError):
                if (await client.get("/health/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise AssertionError("the app did not come up")
