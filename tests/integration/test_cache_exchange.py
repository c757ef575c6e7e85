"""What one process learns of caches, the others know: over a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from app.coordination.coordination import Coordination
from app.openrouter.cache_sightings import MOST_BLOCKS, decode_sighting, encode_sighting
from app.openrouter.prompt_cache import CachePlanner, CacheUsage
from app.openrouter.types import Usage
from app.services.cache_exchange import CacheExchange
from app.services.model_call import PlannedCompletion
from app.services.openrouter_service import OpenRouterService
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio
MODEL = "anthropic/claude-sonnet-4.6"
RULES = {"role": "system", "content": "Answer from the sources. " * 400}


class Process:
    """A planner of its own, connected to the others."""

    def __init__(self, folder: Path, url: str | None, key: str) -> None:
        settings = make_settings(database_url="", data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
        self.openrouter = OpenRouterService(settings=lambda: settings)
        self.coordination = Coordination(lambda: url)
        self.exchange = CacheExchange(openrouter=self.openrouter, coordination=self.coordination, key=key)

    def plan(self, text: str = "question " * 400) -> PlannedCompletion:
        return self.openrouter.plan(messages=[RULES, {"role": "user", "content": text}], model=MODEL)

    def answer(self, planned: PlannedCompletion) -> None:
        """As a call does when its answer is there."""
        total = planned.cache.blocks.ends[-1]
        self.openrouter._learn(planned, MODEL, Usage(prompt_tokens=total, cached_tokens=0, cache_write_tokens=total))

    async def knows_the_prefix(self) -> bool:
        async with asyncio.timeout(5):
            while self.plan().cache.live is None:  # noqa: ASYNC110  (the server says when)
                await asyncio.sleep(0.01)
        return True

    async def aclose(self) -> None:
        await self.exchange.aclose()
        await self.coordination.aclose()
        await self.openrouter.aclose()


@pytest.fixture
async def start(tmp_path: Path, redis_url: str) -> AsyncIterator[Callable[..., Process]]:
    started: list[Process] = []
    key = uuid4().hex

    def start(url: str | None = redis_url) -> Process:
        started.append(Process(tmp_path, url, key))
        return started[-1]

    yield start
    for each in started:
        await each.aclose()


async def test_a_prefix_that_one_process_had_cached_is_known_to_the_other(start: Callable[..., Process]) -> None:
    one, other = start(), start()
    await one.exchange.start()
    await other.exchange.start()
    assert other.plan().cache.live is None

    one.answer(one.plan())

    assert await other.knows_the_prefix()


async def test_a_process_that_starts_later_hears_what_was_told_before(start: Callable[..., Process]) -> None:
    one, late = start(), start()
    await one.exchange.start()
    one.answer(one.plan())
    await one.exchange.aclose()
    await late.exchange.start()

    assert late.plan().cache.live is not None


async def test_what_is_told_twice_or_by_oneself_is_learned_once(start: Callable[..., Process]) -> None:
    one, other = start(), start()
    heard: list[int] = []
    learn, other.openrouter.learn_from = other.openrouter.learn_from, lambda each: heard.append(each.number)  # type: ignore[method-assign]
    await one.exchange.start()
    await other.exchange.start()
    other.answer(other.plan("mine"))
    for text in ("one", "two"):
        one.answer(one.plan(text))
    async with asyncio.timeout(5):
        while len(heard) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    streams = other.coordination.streams
    assert streams is not None
    other.exchange._hear(await streams.read(other.exchange._key))

    assert heard == [1, 2]
    other.openrouter.learn_from = learn  # type: ignore[method-assign]


async def test_without_a_server_each_learns_by_itself(start: Callable[..., Process]) -> None:
    alone = start(None)
    await alone.exchange.start()
    alone.answer(alone.plan())

    assert alone.plan().cache.live is not None
    assert alone.openrouter.when_learned is None


async def test_a_sighting_holds_no_text_and_what_is_no_sighting_is_passed_over() -> None:
    ticket = CachePlanner().plan([RULES, {"role": "user", "content": "a secret"}], MODEL, now=5.0).ticket
    usage = CacheUsage(prompt_tokens=9, cached_tokens=0, cache_write_tokens=9)
    told = encode_sighting("somebody", 1, ticket, usage)
    assert told is not None
    read = decode_sighting(told)

    assert b"secret" not in told
    assert b"sources" not in told
    assert read is not None
    assert (read.ticket(ticket.rules), read.usage) == (ticket, usage)
    assert decode_sighting(b"\x93\x01") is None


async def test_very_long_prompts_are_not_told() -> None:
    messages = [{"role": "user", "content": str(at)} for at in range(MOST_BLOCKS + 1)]

    assert encode_sighting("somebody", 1, CachePlanner().plan(messages, MODEL, now=0.0).ticket, CacheUsage()) is None
