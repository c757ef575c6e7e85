"""A Redis server that has no room left in the middle of an answer: who reads elsewhere is told the end all the same."""

import asyncio

import pytest
from valkey.asyncio import Valkey

from app.services import shared_answers
from tests.conftest import Serve
from tests.emulator.process import EmulatorProcess
from tests.live.readers import open_account
from tests.support.redis import RedisServer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(120),
    pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True),
]


async def test_readers_elsewhere_are_let_go_and_find_the_end_in_the_stored_message(
    serve_app: Serve, redis_server: RedisServer, openrouter: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_answers, "ROUND_SECONDS", 0.2)
    openrouter.configure(tokens_per_second=100)
    a, b = [await serve_app(redis_url=redis_server.url) for _ in range(2)]
    account = await open_account(a.services)
    here, there, late = account.reader(), account.reader(), account.reader()
    async with account.http, Valkey.from_url(redis_server.url) as redis:
        asked = asyncio.create_task(here.ask(a.url, await account.begin()))
        await here.until(10)
        reading = asyncio.create_task(there.read_on(b.url, message_id=here.message_id))
        await there.until(20)
        await redis.config_set("maxmemory", 1)
        await asked
        async with asyncio.timeout(20):
            await reading
            assert not there.is_over
            assert there.frames == here.frames[: len(there.frames)]
            await there.read_on(b.url)
            await late.read_on(b.url, message_id=here.message_id)

    assert here.last.name == "message.completed"
    assert there.frames[-1] == here.frames[-1]
    assert late.frames == here.frames[-1:]
