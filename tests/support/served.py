"""The app under a real uvicorn on a free port, in the tests' own event loop."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from app.core.clock import Clock, utc_now
from app.core.config import Settings, load_settings
from app.main import create_app
from app.services.assembly import Services

TEST_KEY = "sk-or-v1-test-0123456789abcdef"
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Plain HTTP needs none, and loading the usual ones for each client takes longer than most tests."""
TEST_JWT_SECRET = "a-secret-for-tests-that-is-long-enough"


@dataclass(frozen=True)
class ServedApp:
    """An app that listens; ``url`` has no trailing slash."""

    services: Services
    url: str

    def client(self, **options: Any) -> httpx2.AsyncClient:
        """An HTTP client of this app."""
        return httpx2.AsyncClient(**{"base_url": self.url, "timeout": 30, "verify": NO_CERTIFICATES, **options})


def make_settings(*, database_url: str, data_dir: Path, openrouter_url: str, **changes: Any) -> Settings:
    """Settings for tests: quick password hashes, no ``.env``, nobody refused for haste, no call that nobody asked for.

    ``changes`` win.
    """
    defaults: dict[str, Any] = {
        "_env_file": None,
        "database_url": database_url,
        "data_dir": data_dir,
        "jwt_secret": TEST_JWT_SECRET,
        "openrouter_api_key": TEST_KEY,
        "openrouter_base_url": openrouter_url,
        "argon2_time_cost": 1,
        "argon2_memory_kib": 8,
        "shutdown_grace_seconds": 2,
        "rate_limits_enabled": False,
        "max_running_answers_per_user": 1_000,
        "login_failures_per_account": 1_000_000,
        "login_failures_per_address": 1_000_000,
        "registrations_per_hour_per_address": 1_000_000,
        "log_level": "ERROR",
        "auto_title": False,
        "summarise_context": False,
    }
    return load_settings(**(defaults | changes))


class _QuietServer(uvicorn.Server):
    """Leaves the process's signal handlers alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(settings: Settings, *, clock: Clock = utc_now) -> AsyncIterator[ServedApp]:
    """Run an app with these settings until the block ends."""
    services = Services.build(settings, clock=clock)
    config = uvicorn.Config(create_app(services), port=0, log_config=None, timeout_graceful_shutdown=5)
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield ServedApp(services, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        await task
