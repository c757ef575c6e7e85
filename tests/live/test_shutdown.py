"""A server that is told to stop: running answers end in order, and their readers are told how."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from app.core.config import Settings
from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.emulator.process import EmulatorProcess
from tests.live.test_crash import until_ready
from tests.support.accounts import parse_events
from tests.support.databases import SQLiteTemplates
from tests.support.served import TEST_JWT_SECRET, TEST_KEY, make_settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@contextmanager
def served(settings: Settings, *, grace: float) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`wisqu serve` with these settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "DATABASE_URL": settings.database_url,
        "DATA_DIR": str(settings.data_dir),
        "OPENROUTER_BASE_URL": str(settings.openrouter_base_url),
        "OPENROUTER_API_KEY": TEST_KEY,
        "JWT_SECRET": TEST_JWT_SECRET,
        "SHUTDOWN_GRACE_SECONDS": str(grace),
        "LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=settings.data_dir) as process:  # noqa: S603
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


class Scene:
    """A person with a conversation, and settings to serve them with."""

    def __init__(self, settings: Settings, headers: dict[str, str], conversation_id: str) -> None:
        self.settings, self.headers, self.conversation_id = settings, headers, conversation_id

    async def ask(self, url: str, *, stream: bool) -> httpx2.Response:
        body = {"conversation_id": self.conversation_id, "message": "What is Salah?", "stream": stream}
        async with httpx2.AsyncClient(base_url=url, headers=self.headers, timeout=60) as client:
            return await client.post("/api/v1/chat", json=body)


@pytest.fixture
async def scene(tmp_path: Path, openrouter: EmulatorProcess) -> Scene:
    url = await SQLiteTemplates(tmp_path).make()
    settings = make_settings(database_url=url, data_dir=tmp_path, openrouter_url=openrouter.base_url)
    services = Services.build(settings)
    user = await services.auth.register(email="x@example.com", password="long enough", plan=PlanTier.FREE)
    conversation = await services.conversations.create(user.id)
    tokens = await services.auth.login(email="x@example.com", password="long enough")
    await services.aclose()
    return Scene(settings, {"Authorization": f"Bearer {tokens.access_token}"}, str(conversation.id))


async def stop_in_mid_answer(
    scene: Scene, openrouter: EmulatorProcess, *, grace: float, stream: bool
) -> tuple[httpx2.Response, int]:
    with served(scene.settings, grace=grace) as (process, url):
        await until_ready(url)
        answer = asyncio.create_task(scene.ask(url, stream=stream))
        while not openrouter.requests(session_id=scene.conversation_id):  # noqa: ASYNC110  (another process knows)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        response = await answer
        return response, await asyncio.to_thread(process.wait, 20)


async def test_an_answer_that_fits_into_the_grace_time_is_finished(scene: Scene, openrouter: EmulatorProcess) -> None:
    openrouter.configure(tokens_per_second=100)
    response, code = await stop_in_mid_answer(scene, openrouter, grace=20, stream=True)

    assert parse_events(response.text)[-1].name == "message.completed"
    assert code in (0, -signal.SIGTERM)


async def test_a_stream_that_does_not_fit_is_told_that_the_server_went_away(
    scene: Scene, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(tokens_per_second=10)
    response, code = await stop_in_mid_answer(scene, openrouter, grace=1, stream=True)

    events = parse_events(response.text)
    assert events[-1].name == "message.interrupted"
    assert "content.delta" in {each.name for each in events}
    assert code in (0, -signal.SIGTERM)


async def test_a_whole_answer_that_does_not_fit_is_refused_in_the_usual_shape(
    scene: Scene, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(first_token_delay=30)
    response, _ = await stop_in_mid_answer(scene, openrouter, grace=1, stream=False)

    assert (response.status_code, response.json()["error"]) == (503, "service_unavailable")
