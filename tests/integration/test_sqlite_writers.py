"""Writers of SQLite wait for each other asleep, whatever the other one is doing."""

import sqlite3

import pytest
from sqlalchemy.util import greenlet_spawn

from app.db.sqlite_loop import begin_immediate

pytestmark = pytest.mark.anyio


class BusyOnce:
    """A connection whose database another process holds until it is asked a second time."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.statements: list[str] = []

    def execute(self, statement: str) -> None:
        self.statements.append(statement)
        if len(self.statements) == 1:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY_SNAPSHOT])
async def test_a_writer_waits_whatever_makes_the_database_busy(code: int) -> None:
    driver = BusyOnce(code)
    await greenlet_spawn(begin_immediate, driver)
    assert driver.statements == ["BEGIN IMMEDIATE"] * 2


async def test_a_writer_does_not_wait_for_what_will_not_pass() -> None:
    with pytest.raises(sqlite3.OperationalError):
        await greenlet_spawn(begin_immediate, BusyOnce(sqlite3.SQLITE_IOERR))
