"""What the logs of a served app say, and what they must never say."""

import asyncio
import io
import json
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import structlog

from app.core.logging import configure_logging
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import PASSWORD, Person
from tests.support.served import TEST_JWT_SECRET, TEST_KEY, ServedApp, make_settings, serve

pytestmark = pytest.mark.anyio
NOBODY_LISTENS = "http://127.0.0.1:9/api/v1"
SECRET_QUESTION = "Is my neighbour's cat a secret?"
Style = Literal["console", "json"]


class Logs:
    """Everything that was written since the last look."""

    def __init__(self) -> None:
        self._written = io.StringIO()

    def catch(self) -> None:
        """Take the place of stderr under the handlers that are installed now."""
        for library in ("httpx2", "httpcore2"):  # the tests' own client
            logging.getLogger(library).setLevel(logging.CRITICAL)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(self._written)

    @property
    def text(self) -> str:
        return self._written.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def of(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("request_id") == request_id]


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Catches logs once somebody has set them up; puts logging back afterwards."""
    root, ours, structure = logging.getLogger(), logging.getLogger("app"), structlog.get_config()
    handlers, levels = root.handlers, (root.level, ours.level)
    yield Logs()
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    structlog.configure(**structure)


@pytest.fixture
async def talkative(serve_app: Serve, logs: Logs) -> ServedApp:
    """An app that logs everything it has to say as JSON."""
    app = await serve_app(log_level="DEBUG", log_format="json")
    logs.catch()
    return app


async def ask(person: Person, request_id: str, **body: Any) -> httpx2.Response:
    conversation_id = await person.begin(title=SECRET_QUESTION)
    person.http.headers["X-Request-ID"] = request_id
    answer = await person.chat(conversation_id, SECRET_QUESTION, **body)
    await asyncio.sleep(0.05)  # the line of a request is written behind its last byte
    return answer


def assert_discreet(logs: Logs, person: Person) -> None:
    """Nothing of what was said, no key, no token, no password, no address."""
    for secret in (SECRET_QUESTION, "neighbour", TEST_KEY, TEST_JWT_SECRET, PASSWORD, "argon2", person.email):
        assert secret not in logs.text
    for token in ("access_token", "refresh_token"):
        assert person.tokens[token] not in logs.text
        assert person.tokens[token].rpartition(".")[2] not in logs.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_is_told_under_its_request_id_without_what_was_said(
    talkative: ServedApp, join_app: Join, logs: Logs, stream: bool
) -> None:
    person = await join_app(talkative)
    await ask(person, "turn-1", stream=stream)

    told = {line["event"]: line for line in logs.of("turn-1")}
    assert told["request"].items() >= {"method": "POST", "path": "/api/v1/chat", "status": 200}.items()
    assert told["turn.completed"]["models_attempted"][-1] == told["turn.completed"]["final_model_used"]
    assert {"timestamp", "level"} <= told["request"].keys()
    assert_discreet(logs, person)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_turn_is_told_as_discreetly(serve_app: Serve, join_app: Join, logs: Logs, stream: bool) -> None:
    app = await serve_app(log_level="DEBUG", log_format="json", openrouter_url=NOBODY_LISTENS)
    logs.catch()
    person = await join_app(app)
    await ask(person, "turn-2", stream=stream)

    told = {line["event"]: line for line in logs.of("turn-2")}
    assert told["turn.failed"]["error_code"] == "upstream_failed"
    assert told["turn.failed"]["level"] == "warning"
    assert_discreet(logs, person)


async def test_refused_bodies_and_tokens_are_not_logged(talkative: ServedApp, join_app: Join, logs: Logs) -> None:
    person = await join_app(talkative)
    await ask(person, "turn-3", nonsense=SECRET_QUESTION)
    await person.http.get(f"/{SECRET_QUESTION}", params={"token": person.tokens["access_token"]})
    await person.http.get("/api/v1/conversations", params={"cursor": SECRET_QUESTION})
    await person.http.post("/api/v1/auth/login", data={"username": person.email, "password": SECRET_QUESTION})
    await person.http.post("/api/v1/auth/register", json={"email": person.email, "password": PASSWORD})
    await asyncio.sleep(0.05)

    assert [line["status"] for line in logs.of("turn-3") if line["event"] == "request"] == [422, 404, 422, 401, 409]
    assert_discreet(logs, person)


@pytest.fixture(params=["console", "json"])
async def broken(
    request: pytest.FixtureRequest,
    empty_database_url: str,
    tmp_path: Path,
    openrouter: EmulatorProcess,
    logs: Logs,
) -> AsyncIterator[ServedApp]:
    """An app on a database without tables."""
    settings = make_settings(
        database_url=empty_database_url,
        data_dir=tmp_path,
        openrouter_url=openrouter.base_url,
        log_level="DEBUG",
        log_format=request.param,
    )
    async with serve(settings) as app:
        logs.catch()
        yield app


async def test_a_crash_is_logged_with_its_trace_but_not_with_what_was_sent(broken: ServedApp, logs: Logs) -> None:
    account = {"email": "somebody@example.com", "password": PASSWORD, "full_name": SECRET_QUESTION}
    async with broken.client(headers={"X-Request-ID": "crash-1"}) as http:
        answer = await http.post("/api/v1/auth/register", json=account)
    await asyncio.sleep(0.05)

    assert answer.status_code == 500
    assert "request.crashed" in logs.text
    assert "Traceback (most recent call last)" in logs.text
    assert "crash-1" in logs.text
    for secret in (*account.values(), "argon2id"):
        assert secret not in logs.text


@pytest.mark.parametrize("style", ["console", "json"])
def test_an_exception_is_written_without_local_variables_and_without_complaint(logs: Logs, style: Style) -> None:
    configure_logging(level="INFO", style=style)
    logs.catch()
    password = "local-variable"
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        try:
            raise ValueError(len(password))
        except ValueError:
            structlog.get_logger("app.test").exception("crashed")

    assert "ValueError: 14" in logs.text
    assert "local-variable" not in logs.text.replace('password = "local-variable"', "")
    assert complaints == []


def test_lines_below_the_level_are_not_written(logs: Logs) -> None:
    configure_logging(level="WARNING", style="json")
    logs.catch()
    for write in (structlog.get_logger("app.ours").info, logging.getLogger("theirs").info):
        write("quiet")
    for write in (structlog.get_logger("app.ours").warning, logging.getLogger("theirs").warning):
        write("loud")

    assert [line["event"] for line in logs.lines] == ["loud", "loud"]


def test_details_are_our_own_words_only(logs: Logs) -> None:
    configure_logging(level="DEBUG", style="json")
    logs.catch()
    structlog.get_logger("app.ours").debug("ours")
    logging.getLogger("aiosqlite").debug("executing INSERT with what somebody said")

    assert [line["event"] for line in logs.lines] == ["ours"]


def test_the_standard_librarys_loggers_speak_the_same_format(logs: Logs) -> None:
    configure_logging(level="INFO", style="json")
    logs.catch()
    logging.getLogger("uvicorn.error").info("Started on port %d", 8000)
    logging.getLogger("uvicorn.access").info("127.0.0.1 GET /?token=abc")

    (line,) = logs.lines
    assert (line["event"], line["level"]) == ("Started on port 8000", "info")


def test_logs_go_to_stderr(logs: Logs) -> None:
    configure_logging(level="INFO", style="json")

    streams = [each.stream for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
    assert streams == [sys.stderr]


REFUSED = "DETAIL:  Failing row contains (1, a confession\nin two lines, null)."


def test_the_row_that_postgresql_refuses_is_left_out_of_the_trace(logs: Logs) -> None:
    configure_logging(level="INFO", style="json")
    logs.catch()
    try:
        try:
            raise ValueError(f"violates a check\n{REFUSED}")
        except ValueError as error:
            raise RuntimeError(f"(wrapped) violates a check\n{REFUSED}\n[SQL: UPDATE x]") from error
    except RuntimeError:
        structlog.get_logger("app.test").exception("crashed")

    assert "confession" not in logs.text
    assert "two lines" not in logs.text
    assert "[SQL: UPDATE x]" in logs.text
