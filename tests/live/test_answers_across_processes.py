"""Two processes that share a database and a Redis server: any of them serves any reader, and ends any answer."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from decimal import Decimal

import pytest

from app.core.config import Settings
from app.services.assembly import Services
from tests.emulator.process import EmulatorProcess
from tests.live.processes import app_process, until_ready
from tests.live.readers import Account, Reader, open_account
from tests.support.databases import Templates
from tests.support.redis import RedisServer, start_redis
from tests.support.served import make_settings

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True),
]
STREAMS = int(os.environ.get("STREAMS", "20"))
DISCONNECTS = int(os.environ.get("DISCONNECTS", "5"))
"""How many streams are read at once, and how often the reader of each loses the connection; `make soak` raises both."""
TOKENS_PER_SECOND = 40.0
PACE = {"lease_seconds": 5, "answer_checkpoint_seconds": 0.3, "on_disconnect_cancel_seconds": 0.5}
"""Long enough for a busy machine, short enough to wait for."""


@dataclass
class Pair:
    """``a`` and ``b`` are addresses of two processes; ``settings`` start more of them."""

    settings: Settings
    redis: RedisServer
    a: str
    b: str


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


@pytest.fixture(scope="module")
async def pair(
    templates: Templates,
    redis: RedisServer,
    emulator_process: EmulatorProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Pair]:
    url, folder = await templates.make(), tmp_path_factory.mktemp("processes")
    settings = make_settings(database_url=url, data_dir=folder, openrouter_url=emulator_process.base_url)
    with ExitStack() as running:
        urls = [running.enter_context(app_process(settings, redis_url=redis.url, **PACE))[1] for _ in range(2)]
        for each in urls:
            await until_ready(each)
        yield Pair(settings, redis, *urls)
    await templates.drop(url)


@pytest.fixture
async def account(pair: Pair, openrouter: EmulatorProcess) -> AsyncIterator[Account]:
    services = Services.build(pair.settings)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(services.aclose)
        account = await open_account(services)
        opened.push_async_callback(account.http.aclose)
        openrouter.configure(tokens_per_second=TOKENS_PER_SECOND)
        yield account


async def log_at(url: str, account: Account, message_id: str) -> list[bytes]:
    """All events of an answer, read in one go."""
    reader = account.reader()
    await reader.read_on(url, message_id=message_id)
    return reader.frames


async def read_with_disconnects(pair: Pair, account: Account, chance: random.Random) -> Reader:
    reader = account.reader()
    await reader.ask(pair.a, await account.begin(), events=chance.randint(1, 10))
    for _ in range(DISCONNECTS - 1):
        assert not reader.is_over, str([each.id for each in reader.events])[-300:]
        await reader.read_on(chance.choice((pair.a, pair.b)), events=chance.randint(1, 100 // DISCONNECTS))
    await reader.read_on(chance.choice((pair.a, pair.b)))
    return reader


async def test_readers_who_lose_the_connection_miss_nothing_and_read_nothing_twice(
    pair: Pair, account: Account
) -> None:
    readers = await asyncio.gather(
        *(read_with_disconnects(pair, account, random.Random(number)) for number in range(STREAMS))  # noqa: S311
    )

    for reader in readers:
        log = await log_at(pair.a, account, reader.message_id)
        assert b"\n\n".join(reader.frames) == b"\n\n".join(log)
        assert await log_at(pair.b, account, reader.message_id) == log
        assert reader.last.name == "message.completed"
        assert reader.last.data["content"] == reader.text != ""


async def test_a_stop_reaches_the_process_that_makes_the_answer(
    pair: Pair, account: Account, openrouter: EmulatorProcess
) -> None:
    openrouter.configure(tokens_per_second=20)
    conversation_id, here, there = await account.begin(), account.reader(), account.reader()
    asked = asyncio.create_task(here.ask(pair.a, conversation_id))
    await here.until(4)
    reading = asyncio.create_task(there.read_on(pair.b, message_id=here.message_id))
    await there.until(8)
    before = openrouter.control.get("/clock").json()["now"]
    stopped = await account.http.post(f"{pair.b}/api/v1/chat/messages/{here.message_id}/stop")
    await asyncio.gather(asked, reading)

    assert (stopped.status_code, stopped.json()["status"]) == (200, "stopped")
    assert stopped.json()["ending"] == here.last.data
    assert here.last.name == "message.stopped"
    assert there.frames == here.frames
    (request,) = openrouter.requests(session_id=conversation_id)
    assert request["client_disconnected"]
    assert request["aborted_at"] - before < 1
    message = (await account.answers())[here.message_id]
    assert (message.status, message.content) == ("stopped", here.text)


async def test_ten_at_once_under_one_key_are_one_answer(
    pair: Pair, account: Account, openrouter: EmulatorProcess
) -> None:
    conversation_id = await account.begin()
    readers = [account.reader() for _ in range(10)]
    await asyncio.gather(
        *(
            reader.ask((pair.a, pair.b)[number % 2], conversation_id, **{"Idempotency-Key": "once"})
            for number, reader in enumerate(readers)
        )
    )

    assert {reader.last.name for reader in readers} == {"message.completed"}
    assert len({b"\n\n".join(reader.frames) for reader in readers}) == 1
    assert len(openrouter.requests(session_id=conversation_id)) == 1
    (charge,) = await account.ledger()
    assert charge.messages == 1
    assert charge.cost_usd == Decimal(str(openrouter.bill()["total"])) > 0


async def test_the_readers_of_a_killed_process_are_told_elsewhere(pair: Pair, account: Account) -> None:
    conversation_id, here, there = await account.begin(), account.reader(), account.reader()
    with app_process(pair.settings, redis_url=pair.redis.url, **PACE) as (process, url):
        await until_ready(url)
        asked = asyncio.create_task(here.ask(url, conversation_id))
        await here.until(4)
        reading = asyncio.create_task(there.read_on(pair.b, message_id=here.message_id))
        await there.until(40)  # longer than it takes to write down what came
        process.send_signal(signal.SIGKILL)
        await asyncio.gather(asked, return_exceptions=True)
        await reading

    assert there.last.name == "message.interrupted"
    assert [each.id for each in there.events] == list(range(1, len(there.frames) + 1))
    assert here.frames[: len(there.frames) - 1] == there.frames[: len(here.frames)][: len(there.frames) - 1]
    message = (await account.answers())[here.message_id]
    assert (message.status, await account.held()) == ("interrupted", 0)
    assert message.content != ""
    assert there.text.startswith(message.content)
    late = account.reader()
    await late.read_on(pair.a, message_id=here.message_id)
    assert late.frames == there.frames


async def test_an_answer_that_somebody_reads_elsewhere_is_not_cancelled(pair: Pair, account: Account) -> None:
    read, unread, there = account.reader(), account.reader(), account.reader()
    with app_process(pair.settings, redis_url=pair.redis.url, on_disconnect="cancel", **PACE) as (_, url):
        await until_ready(url)
        await read.ask(url, await account.begin(), events=3)
        reading = asyncio.create_task(there.read_on(pair.b, message_id=read.message_id))
        await unread.ask(url, await account.begin(), events=3)
        await reading
        await _until_ended(account, unread.message_id)

    assert there.last.name == "message.completed"
    stored = await account.answers()
    assert stored[there.message_id].status == "completed"
    assert stored[unread.message_id].status == "stopped"


async def test_a_redis_server_that_goes_and_comes_back_empty_costs_no_event(pair: Pair, account: Account) -> None:
    """The last test of this file: both processes leave the server alone for a while afterwards."""
    here, there, comes_back = account.reader(), account.reader(), account.reader()
    asked = asyncio.create_task(here.ask(pair.a, await account.begin()))
    await here.until(10)
    reading = asyncio.create_task(there.read_on(pair.b, message_id=here.message_id))
    await comes_back.read_on(pair.b, message_id=here.message_id, events=20)
    await there.until(40)
    pair.redis.stop()
    await asyncio.sleep(1)
    resumed = asyncio.create_task(comes_back.read_on(pair.b))
    pair.redis.start()
    await asyncio.gather(asked, reading, resumed)
    for reader in (there, comes_back):
        while not reader.is_over:  # whom the server lost for good is let go, and reads on
            await reader.read_on(pair.b)

    assert here.last.name == "message.completed"
    assert there.frames == here.frames
    assert [each.id for each in comes_back.events] == sorted({each.id for each in comes_back.events})
    assert comes_back.frames[-1] == here.frames[-1]


async def _until_ended(account: Account, message_id: str) -> None:
    while (await account.answers())[message_id].status == "pending":  # noqa: ASYNC110  (another process knows)
        await asyncio.sleep(0.05)
