"""Streams on a real server: written once, without gaps, whatever the server forgot."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from app.coordination.shared_store import MAX_CONNECTIONS, TIMEOUT_SECONDS, SharedStore
from app.coordination.streams import Entry, SharedStreams

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[SharedStore]:
    store = SharedStore(redis_url)
    yield store
    await store.aclose()


@pytest.fixture
async def streams(store: SharedStore) -> AsyncIterator[SharedStreams]:
    streams = SharedStreams(store)
    yield streams
    await streams.aclose()


def entries(first: int, last: int) -> list[Entry]:
    return [Entry(number, "content.delta", str(number).encode()) for number in range(first, last + 1)]


async def test_what_is_written_twice_stands_there_once(streams: SharedStreams) -> None:
    key = uuid4().hex

    assert await streams.append(key, entries(1, 3), keep_seconds=5) == 3
    assert await streams.append(key, entries(2, 4), keep_seconds=5) == 4
    assert await streams.read(key) == entries(1, 4)
    assert await streams.read(key, after=2) == entries(3, 4)


async def test_behind_a_gap_nothing_is_written(streams: SharedStreams) -> None:
    key = uuid4().hex

    assert await streams.append(key, entries(4, 6), keep_seconds=5) == 0
    assert await streams.exists(key) is False
    await streams.append(key, entries(1, 2), keep_seconds=5)
    assert await streams.append(key, entries(4, 6), keep_seconds=5) == 2
    assert await streams.read(key) == entries(1, 2)


async def test_one_stream_that_cannot_be_received_does_not_silence_the_others(streams: SharedStreams) -> None:
    bad, good = uuid4().hex, uuid4().hex
    heard: list[Entry] = []

    def stumble(_: list[Entry]) -> None:
        raise ValueError("no such thing")

    streams.follow(bad, after=0, receive=stumble)
    streams.follow(good, after=0, receive=heard.extend)
    await streams.append(bad, entries(1, 1), keep_seconds=5)
    await streams.append(good, entries(1, 2), keep_seconds=5)
    async with asyncio.timeout(5):
        while len(heard) < 2:  # noqa: ASYNC110  (the server says when)
            await asyncio.sleep(0.01)

    assert heard == entries(1, 2)


@pytest.mark.parametrize("ahead", [-600, 600])
async def test_signals_are_heard_though_our_clock_is_not_the_servers(
    streams: SharedStreams, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    key, right = uuid4().hex, time.time
    heard: list[Entry] = []
    monkeypatch.setattr(time, "time", lambda: right() + ahead)

    streams.listen(key, heard.extend)
    await asyncio.sleep(0.1)
    await streams.signal(key, "stop", b"this one")
    async with asyncio.timeout(5):
        while not heard:  # noqa: ASYNC110  (the server says when)
            await asyncio.sleep(0.01)

    assert [(each.name, each.data) for each in heard] == [("stop", b"this one")]


async def test_a_rush_is_no_fault_of_the_server(store: SharedStore) -> None:
    """The last of these wait for a connection longer than the server may take to answer."""
    wait = ("XREAD", "BLOCK", 400, "STREAMS", uuid4().hex, "$")
    rounds = int(TIMEOUT_SECONDS / 0.4) + 2
    answers = await asyncio.gather(*(store.command(*wait) for _ in range(rounds * MAX_CONNECTIONS)))

    assert None not in answers
