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

UVICORN = ("-m", "uvicorn", "app.main:app")
WISQU_SERVE = ("-c", "from app.cli import main; main()", "serve")


@contextmanager
def app_process(
    settings: Settings,
    *,
    command: tuple[str, ...] = UVICORN,
    workers: int = 1,
    lease_seconds: int = 2,
    **variables: object,
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The app as an operator runs it, with its settings in the environment; ``variables`` win, in lower case."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = ("database_url", "data_dir", "openrouter_base_url", "argon2_time_cost", "argon2_memory_kib")
    names += ("auto_title", "summarise_context")
    environment = {name: str(getattr(settings, name)) for name in names}
    environment |= {
        "jwt_secret": TEST_JWT_SECRET,
        "openrouter_api_key": TEST_KEY,
        "log_level": "ERROR",
        "quota_lease_seconds": str(lease_seconds),
        "reconcile_interval_seconds": "0.3",
        "rate_limits_enabled": "false",
        "max_running_answers_per_user": "1000",
        "database_pool_size": "5",
    }
    environment |= {name: str(value) for name, value in variables.items()}
    shell = os.environ | {name.upper(): value for name, value in environment.items()}
    line = [sys.executable, *command, "--port", str(port), *(["--workers", str(workers)] if workers > 1 else [])]
    with subprocess.Popen(line, env=shell, cwd=settings.data_dir, start_new_session=True) as process:  # noqa: S603
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
