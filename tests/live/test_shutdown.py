"""A server that is told to stop: running answers end in order, and their readers are told how."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from app.core.config import Settings
from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.emulator.process import EmulatorProcess
from tests.live.processes import UVICORN, WISQU_SERVE, app_process, until_ready
from tests.live.readers import Account, ask_many, open_account
from tests.support.accounts import parse_events
from tests.support.databases import SQLiteTemplates
from tests.support.served import make_settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
STOPPED_STREAMS = int(os.environ.get("STOPPED_STREAMS", "40"))
"""How many answers run when the server is told to stop; `make soak` has more."""
CLOSING_SECONDS = 10.0
"""What a busy machine may take beyond the grace time to close that many answers and its connections."""


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
    with app_process(scene.settings, command=WISQU_SERVE, shutdown_grace_seconds=grace) as (process, url):
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

    assert (response.status_code, response.json().get("error")) == (503, "service_unavailable")


@pytest.fixture
async def account(tmp_path: Path, openrouter: EmulatorProcess) -> AsyncIterator[Account]:
    url = await SQLiteTemplates(tmp_path).make()
    services = Services.build(make_settings(database_url=url, data_dir=tmp_path, openrouter_url=openrouter.base_url))
    account = await open_account(services)
    yield account
    await account.http.aclose()
    await services.aclose()


@pytest.mark.parametrize("command", [WISQU_SERVE, UVICORN], ids=["wisqu serve", "uvicorn"])
async def test_of_many_running_streams_none_is_lost(
    account: Account, openrouter: EmulatorProcess, command: tuple[str, ...]
) -> None:
    """Some fit into the grace time, others do not: each reader is told, and the stored message says the same."""
    grace = 4.0 if STOPPED_STREAMS <= 40 else 10.0
    settings = account.services.settings
    with app_process(settings, command=command, lease_seconds=60, shutdown_grace_seconds=grace) as (process, url):
        await until_ready(url)
        openrouter.configure(tokens_per_second=4)
        running = await ask_many(account, url, STOPPED_STREAMS // 2, events=3)
        openrouter.configure(tokens_per_second=80)
        running |= await ask_many(account, url, STOPPED_STREAMS // 2, events=3)
        process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        await asyncio.gather(*running.values())
        code = await asyncio.to_thread(process.wait, 60)
        took = time.monotonic() - told

    assert code in (0, -signal.SIGTERM)
    assert took < grace + CLOSING_SECONDS
    endings = Counter(reader.last.name for reader in running)
    assert endings.keys() == {"message.completed", "message.interrupted"}, endings
    stored = await account.answers()
    for reader in running:
        message = stored[reader.message_id]
        assert (f"message.{message.status}", message.content) == (reader.last.name, reader.text)
        assert message.event_count == reader.last.id == len(reader.frames)
    assert await account.held() == 0
    assert sum(line.messages for line in await account.ledger()) == endings["message.completed"]
