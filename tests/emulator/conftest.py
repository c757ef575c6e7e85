"""One emulator process per test worker, as fast as it can be; tests change its settings and put them back."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.emulator.process import EmulatorProcess, start_emulator


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[EmulatorProcess]:
    with start_emulator("--tokens-per-second", "0", "--first-token-delay", "0") as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: EmulatorProcess) -> Iterator[EmulatorProcess]:
    """Fresh books and the settings it started with."""
    shared_emulator.reset()
    yield shared_emulator
    shared_emulator.reset()


@pytest.fixture
async def api(emulator: EmulatorProcess) -> AsyncIterator[httpx2.AsyncClient]:
    """A client at `/api/v1` with a key."""
    headers = {"Authorization": "Bearer sk-or-test"}
    async with httpx2.AsyncClient(base_url=emulator.base_url, headers=headers, timeout=20) as client:
        yield client
