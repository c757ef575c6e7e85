"""A bound on what is held in memory: who comes first is let in first, and nobody's share is lost."""

import asyncio
from contextlib import suppress

import pytest

from app.core.byte_budget import ByteBudget

pytestmark = pytest.mark.anyio


class Holder:
    """Holds some bytes until it is told to let go."""

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self.holds = False
        self.let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, size))

    async def _run(self, budget: ByteBudget, size: int) -> None:
        async with budget.hold(size):
            self.holds = True
            await self.let_go.wait()
        self.holds = False


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def holders(budget: ByteBudget, *sizes: int) -> list[Holder]:
    made = [Holder(budget, size) for size in sizes]
    await settle()
    return made


async def end(*ending: Holder) -> None:
    for each in ending:
        each.let_go.set()
    await asyncio.gather(*(each.task for each in ending))
    await settle()


async def test_what_fits_is_held_and_the_rest_waits_its_turn() -> None:
    first, large, small = await holders(ByteBudget(10), 6, 8, 2)
    assert [each.holds for each in (first, large, small)] == [True, False, False]

    await end(first)
    assert [large.holds, small.holds] == [True, True]
    await end(large, small)


async def test_more_than_there_is_counts_as_all() -> None:
    huge, small = await holders(ByteBudget(10), 1_000, 1)
    assert [huge.holds, small.holds] == [True, False]

    await end(huge)
    assert small.holds
    await end(small)


async def test_who_gives_up_waiting_lets_the_next_one_in() -> None:
    first, large, small = await holders(ByteBudget(10), 6, 8, 2)
    large.task.cancel()
    await settle()

    assert small.holds
    await end(first, small)


async def test_who_is_let_in_and_cancelled_at_once_loses_nothing() -> None:
    budget = ByteBudget(10)
    first, second = await holders(budget, 10, 10)
    first.let_go.set()
    await asyncio.sleep(0)
    assert first.task.done()
    assert not second.holds
    second.task.cancel()
    with suppress(asyncio.CancelledError):
        await second.task

    (third,) = await holders(budget, 10)
    assert third.holds
    await end(third)
