"""SQLite in the event loop's own thread.

A statement takes some ten microseconds, and handing it to a thread and back ten times as long. What may take its time
does not hold the loop up: waiting for another process that writes is asleep, and committing, which now and then moves
what was written into the file for good, happens in a thread.
"""

import asyncio
import sqlite3
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only

DRIVER = "sqlite+loop"
PATIENCE_SECONDS = 10.0
"""How long other processes may write before a writer gives up."""
_NAP_SECONDS = 0.002
_PRIMARY_CODE = 0xFF
"""The part of an error code that says what it is; the rest says why, such as another process that mends the journal."""


class LoopCursor(sqlite3.Cursor):
    """What an async engine wants of a cursor beside the usual."""

    async def _async_soft_close(self) -> None:
        """Nothing is held for a reader that may come later."""


class LoopConnection(sqlite3.Connection):
    """A connection with such cursors."""

    def cursor(self, factory: Any = LoopCursor) -> Any:
        """A cursor; the driver's own shortcuts ask for another kind."""
        return super().cursor(factory)


async def _nothing() -> None:
    """Awaited after each statement: an async engine insists on something being awaited."""


class LoopSQLiteDialect(SQLiteDialect_pysqlite):
    """The standard library's driver behind an async engine."""

    driver = "loop"
    is_async = True
    supports_statement_cache = True

    @classmethod
    def get_pool_class(cls, url: URL) -> type[AsyncAdaptedQueuePool]:
        """A pool whose waiters let the loop run."""
        return AsyncAdaptedQueuePool

    def create_connect_args(self, url: URL) -> Any:
        """As usual, with connections of our kind."""
        arguments, options = super().create_connect_args(url)
        return arguments, {**options, "factory": LoopConnection}

    def do_execute(self, cursor: Any, *arguments: Any, **options: Any) -> None:
        """Execute here and now."""
        super().do_execute(cursor, *arguments, **options)  # type: ignore[no-untyped-call]
        await_only(_nothing())

    def do_executemany(self, cursor: Any, *arguments: Any, **options: Any) -> None:
        """Execute here and now."""
        super().do_executemany(cursor, *arguments, **options)  # type: ignore[no-untyped-call]
        await_only(_nothing())

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit in a thread, if there is something to."""
        if dbapi_connection.in_transaction:
            await_only(asyncio.to_thread(dbapi_connection.commit))


registry.register("sqlite.loop", __name__, LoopSQLiteDialect.__name__)


def begin_immediate(driver: Any) -> None:
    """Begin a transaction that may write; called by the engine, and asleep while another process writes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or loop.time() > deadline:
                raise
            await_only(asyncio.sleep(_NAP_SECONDS))
        else:
            return
