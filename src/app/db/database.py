"""The engine: opened on first use, the same behaviour on SQLite and PostgreSQL."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config import get_settings
from app.db.sqlite_loop import DRIVER, begin_immediate
from app.db.unit_of_work import Turn, UnitOfWork

READ_ONLY = "wisqu_read_only"


class Database:
    """Hands out units of work. Nothing connects before the first one is entered."""

    def __init__(self, url: Callable[[], str], pool_size: Callable[[], int] = lambda: 10) -> None:
        self._url = url
        self._pool_size = pool_size
        self._engine: AsyncEngine | None = None
        self._autocommit: AsyncEngine | None = None
        self._threads: AsyncEngine | None = None
        self._turn: Turn | None = None

    @property
    def engine(self) -> AsyncEngine:
        """The engine, made on first use."""
        if self._engine is None:
            self._engine = make_engine(self._url(), pool_size=self._pool_size())
        return self._engine

    def unit_of_work(self) -> UnitOfWork:
        """One transaction that may write; on SQLite it takes the write lock at once."""
        return UnitOfWork(self.engine, turn=self._queue())

    def statement_by_statement(self) -> UnitOfWork:
        """For work whose every statement may stand by itself, with no BEGIN and COMMIT to wait for.

        On SQLite, where what is one statement elsewhere may be several, it is one transaction that may write.
        """
        return self.unit_of_work() if self._is_sqlite else UnitOfWork(self._alone(), turn=self._queue())

    def read_only(self) -> UnitOfWork:
        """For reading only: on SQLite one transaction that never waits for a writer, else statement by statement."""
        if self._is_sqlite:
            return UnitOfWork(self.engine, execution_options={READ_ONLY: True})
        return self.statement_by_statement()

    def snapshot(self) -> UnitOfWork:
        """For reading only, and all statements see the same instant. It may take its time: on SQLite in a thread."""
        if self._is_sqlite:  # whose transactions are snapshots anyway
            return UnitOfWork(self._in_threads())
        return UnitOfWork(self.engine, turn=self._queue(), execution_options={"isolation_level": "REPEATABLE READ"})

    async def ping(self) -> None:
        """Raise if the database does not answer."""
        async with self.engine.connect() as connection:
            await connection.execution_options(**{READ_ONLY: True})
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection; a later use opens anew."""
        opened = [each for each in (self._engine, self._threads) if each is not None]
        self._engine = self._autocommit = self._threads = self._turn = None
        for engine in opened:
            await engine.dispose()

    @property
    def _is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def _alone(self) -> AsyncEngine:
        if self._autocommit is None:
            self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        return self._autocommit

    def _in_threads(self) -> AsyncEngine:
        if self._threads is None:
            self._threads = make_thread_engine(self._url())
        return self._threads

    def _queue(self) -> Turn:
        # First come, first served. SQLite lets its one writer be found by polling and the pool hands a connection to
        # whoever passes by when it is given back: either way somebody starves.
        if self._turn is None:
            self._turn = asyncio.Lock() if self._is_sqlite else asyncio.Semaphore(self._pool_size())
        return self._turn


def make_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine whose transactions mean the same on both databases. Parameters never reach errors or logs."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_size=pool_size, max_overflow=0, hide_parameters=True)
    return _make_sqlite_engine(parsed.set(drivername=DRIVER), pool_size)


def make_thread_engine(url: str) -> AsyncEngine:
    """An engine for SQLite that only reads, in threads: for what takes so long that the event loop would notice."""
    return _make_sqlite_engine(make_url(url), pool_size=2)


def _make_sqlite_engine(url: URL, pool_size: int) -> AsyncEngine:
    if url.database:
        Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=10, hide_parameters=True)
    # In the loop nobody may wait for a lock but asleep; a thread may.
    patience = 0 if url.drivername == DRIVER else 10_000

    # The driver's own BEGIN comes late and read-modify-write loses updates without an error: we say BEGIN ourselves.
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=10000")
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL", f"busy_timeout={patience}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        driver = connection.connection.dbapi_connection
        assert driver is not None  # noqa: S101  (a connection that begins is open)
        if url.drivername != DRIVER or connection.get_execution_options().get(READ_ONLY):
            driver.cursor().execute("BEGIN")
        else:
            begin_immediate(driver)

    return engine


def _configured_url() -> str:
    return get_settings().resolved_database_url


database = Database(_configured_url, lambda: get_settings().database_pool_size)
