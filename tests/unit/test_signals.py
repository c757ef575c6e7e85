"""Hearing that the process is told to end, without taking the signal from whoever ends it."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from app.core.signals import on_ending

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[list[int]]:
    """The signals that a server in this process was told of."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    yield told
    signal.signal(signal.SIGTERM, before)


async def test_both_hear_of_it(server: list[int]) -> None:
    handler, heard = signal.getsignal(signal.SIGTERM), []
    with on_ending(lambda: heard.append(True)):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)

    assert (server, heard) == ([signal.SIGTERM], [True])
    assert signal.getsignal(signal.SIGTERM) is handler


async def test_afterwards_nothing_is_done_even_by_a_handler_that_could_not_be_removed(server: list[int]) -> None:
    heard: list[bool] = []
    with on_ending(lambda: heard.append(True)):
        under = signal.getsignal(signal.SIGTERM)
        assert callable(under)
        signal.signal(signal.SIGTERM, lambda number, frame: under(number, frame))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.01)

    assert (server, heard) == ([signal.SIGTERM], [])


async def test_where_the_signal_ends_the_process_at_once_it_still_does() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with on_ending(lambda: None):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_another_thread_hears_nothing(server: list[int]) -> None:
    handler = signal.getsignal(signal.SIGTERM)

    def elsewhere() -> bool:
        with on_ending(lambda: None):
            return signal.getsignal(signal.SIGTERM) is handler

    assert await asyncio.to_thread(elsewhere)
