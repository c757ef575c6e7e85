"""Fixtures of the whole suite: each test that takes ``database_kind`` runs on SQLite and on PostgreSQL."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, settings

from app.db.database import Database
from tests.emulator.process import EmulatorProcess, start_emulator
from tests.support.accounts import Person, join
from tests.support.databases import KINDS, PostgresTemplates, SQLiteTemplates, Templates, find_postgres
from tests.support.redis import RedisServer, start_redis
from tests.support.s3 import S3Server, start_s3
from tests.support.served import ServedApp, make_settings, serve

# The developer's own settings must not steer the tests.
_STEERING = ("OPENROUTER_", "LLM_", "JWT_", "DATABASE_", "REDIS_URL", "RATE_LIMITS_", "APP_ENV", "IMAGE_")
for _name in [name for name in os.environ if name.startswith(_STEERING)]:
    del os.environ[_name]

# How long an example takes, and how soon it is made up, says more of the machine's load than of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

Serve = Callable[..., Awaitable[ServedApp]]
Join = Callable[..., Awaitable[Person]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def run_id() -> str:
    """The same in all worker processes of one run."""
    return os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[EmulatorProcess]:
    with start_emulator("--tokens-per-second", "0", "--first-token-delay", "0") as process:
        yield process


@pytest.fixture
def openrouter(emulator_process: EmulatorProcess) -> Iterator[EmulatorProcess]:
    """OpenRouter, as far as the app can tell: empty books, answers at once. Ask it what it received."""
    emulator_process.reset()
    yield emulator_process
    emulator_process.reset()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server; others use it too, so a test takes keys of its own."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield given
        return
    with start_redis() as server:
        yield server.url


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis server of this test's own, to stop and start."""
    with start_redis() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server; others use it too, so a test takes a bucket of its own."""
    with start_s3() as server:
        yield server


@pytest.fixture(scope="session", params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
async def templates(
    database_kind: str, tmp_path_factory: pytest.TempPathFactory, run_id: str
) -> AsyncIterator[Templates]:
    if database_kind == "sqlite":
        yield SQLiteTemplates(tmp_path_factory.mktemp("sqlite"))
        return
    postgres = PostgresTemplates(find_postgres(run_id))
    yield postgres
    await postgres.aclose()


@pytest.fixture
async def database_url(templates: Templates) -> AsyncIterator[str]:
    """A migrated and seeded database of this test's own."""
    url = await templates.make()
    yield url
    await templates.drop(url)


@pytest.fixture
async def empty_database_url(templates: Templates) -> AsyncIterator[str]:
    """A database without tables."""
    url = await templates.make_empty()
    yield url
    await templates.drop(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database of this test's own, opened."""
    database = Database(lambda: database_url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def shared_app(
    templates: Templates, tmp_path_factory: pytest.TempPathFactory, emulator_process: EmulatorProcess
) -> AsyncIterator[ServedApp]:
    """One app a database kind and worker; tests keep apart by using accounts of their own."""
    url = await templates.make()
    folder = tmp_path_factory.mktemp("app")
    async with serve(make_settings(database_url=url, data_dir=folder, openrouter_url=emulator_process.base_url)) as app:
        yield app
    await templates.drop(url)


@pytest.fixture
def app(shared_app: ServedApp, openrouter: EmulatorProcess) -> ServedApp:
    """A served app with default settings behind a reset emulator."""
    return shared_app


@pytest.fixture
async def serve_app(database_url: str, tmp_path: Path, openrouter: EmulatorProcess) -> AsyncIterator[Serve]:
    """Serves apps with settings of their own on this test's database: ``await serve_app(llm_model=...)``."""
    async with AsyncExitStack() as running:

        async def start(*, clock: Any = None, **changes: Any) -> ServedApp:
            settings = make_settings(
                **{
                    "database_url": database_url,
                    "data_dir": tmp_path,
                    "openrouter_url": openrouter.base_url,
                    **changes,
                }
            )
            options = {"clock": clock} if clock else {}
            return await running.enter_async_context(serve(settings, **options))

        yield start


@pytest.fixture
async def http(app: ServedApp) -> AsyncIterator[httpx2.AsyncClient]:
    """Nobody in particular."""
    async with app.client() as client:
        yield client


@pytest.fixture
async def join_app() -> AsyncIterator[Join]:
    """Brings people into an app: ``await join_app(app, plan=...)``."""
    people: list[Person] = []

    async def bring(app: ServedApp, **options: Any) -> Person:
        people.append(await join(app, **options))
        return people[-1]

    yield bring
    for person in people:
        await person.http.aclose()


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Free plan who has logged in."""
    return await join_app(app)
