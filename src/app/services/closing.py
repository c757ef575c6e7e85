"""Ending what must not be left half done: though the task is cancelled, though the database stumbles."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

log = structlog.get_logger(__name__)

T = TypeVar("T")

PAUSES = (0.1, 0.5, 2.0, 5.0)
"""Seconds before each further try."""


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` to its end however often this task is cancelled meanwhile; afterwards that is passed on, once."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancellation = error
    result = task.result()
    if cancellation is not None:
        raise cancellation
    return result


async def durably(close: Callable[[], Awaitable[T]]) -> T:
    """Close something though the database should stumble: what was billed must not be lost.

    ``close`` is one transaction, and settles a lease: done twice, it charges once.
    """
    for pause in PAUSES:
        try:
            return await close()
        except (IntegrityError, DataError):
            raise  # what a row may not hold, it may not hold the next time either
        except (SQLAlchemyError, OSError) as error:
            log.warning("closing.failed", kind=type(error).__name__, again_in_seconds=pause)
            await asyncio.sleep(pause)
    return await close()
