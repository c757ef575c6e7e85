"""``wisqu demo``, which `make run` runs: as a real process, with every way it may begin and end."""

import os
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx2
import pytest

from tests.docs.processes import BIN, QUICK_PASSWORDS, Running, environment, run, running
from tests.emulator.process import EmulatorProcess

pytestmark = pytest.mark.timeout(120)
EMULATOR = re.compile(r"an emulator on (http://127\.0\.0\.1:\d+)/api/v1")
PASSWORD = re.compile(r"^ +(\S+@wisqu\.local) .*password \(shown this once\): (\S+)$", re.MULTILINE)
STARTS = re.compile(r"WisQu starts on (http://127\.0\.0\.1:\d+) ")


@contextmanager
def _demo(folder: Path, settings: Mapping[str, str] = MappingProxyType({}), *, port: int = 0) -> Iterator[Running]:
    command = (BIN / "wisqu", "demo", "--port", str(port), "--data-dir", folder / "data")
    with running(*command, folder=folder, cwd=folder, env=environment(**QUICK_PASSWORDS, **settings)) as demo:
        yield demo


def _url(demo: Running) -> str:
    demo.wait_until("Application startup complete")
    found = STARTS.search(demo.said)
    assert found is not None, demo.said
    demo.wait_until_ready(found.group(1))
    return found.group(1)


def _emulator_url(demo: Running) -> str:
    found = EMULATOR.search(demo.said)
    assert found is not None, demo.said
    return found.group(1)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).status_code > 0
    except httpx2.HTTPError:
        return False


def _wait_until_silent(url: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _answers(url):
        assert time.monotonic() < deadline, f"{url} still answers"
        time.sleep(0.1)


def _log_in(url: str, email: str, password: str) -> httpx2.Response:
    return httpx2.post(f"{url}/api/v1/auth/login", data={"username": email, "password": password}, timeout=30)


class TestBeginning:
    def test_the_printed_passwords_log_in_with_plan_and_role(self, tmp_path: Path) -> None:
        with _demo(tmp_path) as demo:
            url = _url(demo)
            passwords = dict(PASSWORD.findall(demo.said))
            said = {}
            for email, password in passwords.items():
                token = _log_in(url, email, password).json()["access_token"]
                with httpx2.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}) as http:
                    plan = http.get("/subscriptions/me").json()["plan"]
                    said[email] = (plan, http.get("/auth/me").json()["role"])

        assert said == {"demo@wisqu.local": ("premium", "user"), "admin@wisqu.local": ("free", "admin")}

    def test_a_second_start_shows_no_password_and_says_so(self, tmp_path: Path) -> None:
        with _demo(tmp_path) as demo:
            _url(demo)
            first = dict(PASSWORD.findall(demo.said))
            demo.end(signal.SIGINT)
        with _demo(tmp_path) as demo:
            url = _url(demo)
            again = demo.said
            status = _log_in(url, "demo@wisqu.local", first["demo@wisqu.local"]).status_code

        assert PASSWORD.findall(again) == []
        assert again.count("its password was shown when it was created") == 2
        assert not any(password in again for password in first.values())
        assert status == 200

    def test_a_taken_port_is_one_sentence_and_nothing_was_created(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with _demo(tmp_path, port=port) as demo:
                code = demo.wait(seconds=30)

        assert code == 1
        assert demo.said == ""
        assert re.fullmatch(rf"Port {port} cannot be used \(Address already in use\)\. .*PORT=8001\n", demo.logged)
        assert not (tmp_path / "data").exists()

    def test_wrong_settings_are_told_at_once_without_values(self, tmp_path: Path) -> None:
        wrong = {"LLM_TEMPERATURE": "77", "JWT_SECRET": "hushhush", "CACHE_CONTROL_STRATEGY": "sometimes"}
        with _demo(tmp_path, wrong) as demo:
            code = demo.wait(seconds=30)

        _is_one_message_naming(demo.logged, wrong)
        assert (code, demo.said) == (1, "")

    def test_with_a_key_there_is_no_emulator_and_no_demo_account(
        self, tmp_path: Path, openrouter: EmulatorProcess
    ) -> None:
        upstream = {"OPENROUTER_API_KEY": "sk-or-v1-somebodys", "OPENROUTER_BASE_URL": openrouter.base_url}
        with _demo(tmp_path, upstream) as demo:
            url = _url(demo)
            register = {"email": "somebody@example.com", "password": "long enough"}
            httpx2.post(f"{url}/api/v1/auth/register", json=register, timeout=30)
            token = _log_in(url, register["email"], register["password"]).json()["access_token"]
            with httpx2.Client(
                base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30
            ) as http:
                conversation = http.post("/conversations", json={}).json()["id"]
                answer = http.post("/chat", json={"conversation_id": conversation, "message": "Hello"})

        assert f"Answers come from {openrouter.base_url} and are billed to your key." in demo.said
        assert "emulator on" not in demo.said
        assert "@wisqu.local" not in demo.said
        assert "sk-or-v1-somebodys" not in demo.said + demo.logged
        assert answer.status_code == 200
        assert openrouter.requests() != []


def _is_one_message_naming(message: str, wrong: dict[str, str]) -> None:
    lines = message.splitlines()
    assert lines[0] == "Wrong settings:"
    assert sorted(line.removeprefix("  - ").partition(":")[0] for line in lines[1:]) == sorted(wrong)
    assert "hushhush" not in message
    assert "Traceback" not in message


class TestEnding:
    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_app_and_emulator_in_order(self, tmp_path: Path, sent: signal.Signals) -> None:
        with _demo(tmp_path) as demo:
            url = _url(demo)
            emulator = _emulator_url(demo)
            was_there = _answers(emulator)
            code = demo.end(sent, seconds=5)
            _wait_until_silent(emulator, seconds=5)

        assert was_there
        assert code in ((0, 130) if sent is signal.SIGINT else (0, -signal.SIGTERM))
        assert not _answers(url)
        assert "Traceback" not in demo.said + demo.logged
        assert "Application shutdown complete" in demo.logged

    def test_ctrl_c_during_the_migration_waits_for_its_end(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        with closing(sqlite3.connect(tmp_path / "data" / "wisqu.db", isolation_level=None)) as holding:
            holding.execute("PRAGMA journal_mode=WAL")
            holding.execute("BEGIN IMMEDIATE")
            with _demo(tmp_path) as demo:
                demo.wait_until("an emulator on")
                time.sleep(2)  # the migration now waits for the lock
                os.killpg(demo.process.pid, signal.SIGINT)
                time.sleep(0.5)
                holding.execute("ROLLBACK")
                code = demo.wait(seconds=10)
                _wait_until_silent(_emulator_url(demo), seconds=5)
            tables = {name for (name,) in holding.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

        assert code in (0, 130)
        assert "Traceback" not in demo.said + demo.logged
        assert {"users", "alembic_version"} <= tables
        assert "Application startup" not in demo.logged

    def test_ctrl_c_lets_a_running_answer_end(self, tmp_path: Path) -> None:
        with _demo(tmp_path) as demo:
            url = _url(demo)
            email, password = PASSWORD.findall(demo.said)[0]
            token = _log_in(url, email, password).json()["access_token"]
            with httpx2.Client(
                base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60
            ) as http:
                conversation = http.post("/conversations", json={}).json()["id"]
                body = {"conversation_id": conversation, "message": "Hello", "stream": True}
                with http.stream("POST", "/chat", json=body) as answer:
                    lines = answer.iter_lines()
                    next(line for line in lines if line == "event: message.started")
                    os.killpg(demo.process.pid, signal.SIGINT)
                    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
            code = demo.wait(seconds=10)

        assert names[-1] == "message.completed"
        assert code in (0, 130)

    def test_killing_the_app_takes_the_emulator_along(self, tmp_path: Path) -> None:
        with _demo(tmp_path) as demo:
            _url(demo)
            emulator = _emulator_url(demo)
            demo.process.kill()
            demo.wait(seconds=5)
            _wait_until_silent(emulator, seconds=5)

    def test_killing_it_while_the_emulator_starts_takes_it_along(self, tmp_path: Path) -> None:
        with _demo(tmp_path) as demo:
            deadline = time.monotonic() + 30
            while not (children := _children(demo.process.pid)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            demo.process.kill()
            demo.wait(seconds=5)
            while any(_is_alive(child) for child in children):
                assert time.monotonic() < deadline, "the emulator outlives its parent"
                time.sleep(0.1)

    def test_ctrl_c_under_make_shows_no_stack_trace(self, tmp_path: Path) -> None:
        makefile = f"run:\n\t@exec {BIN / 'wisqu'} demo --port 0 --data-dir {tmp_path / 'data'}\n"
        (tmp_path / "Makefile").write_text(makefile)
        with running("make", "run", folder=tmp_path, cwd=tmp_path, env=environment(**QUICK_PASSWORDS)) as make:
            _url(make)
            emulator = _emulator_url(make)
            code = make.end(signal.SIGINT, seconds=5)
            _wait_until_silent(emulator, seconds=5)

        assert code in (0, 130, -signal.SIGINT)
        assert "Traceback" not in make.said + make.logged


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestOtherWaysOfStarting:
    def test_uvicorn_tells_wrong_settings_at_once(self, tmp_path: Path) -> None:
        wrong = {"LLM_TEMPERATURE": "77", "JWT_SECRET": "hushhush"}
        ended = run(BIN / "uvicorn", "app.main:app", "--port", "0", cwd=tmp_path, env=environment(**wrong))

        _is_one_message_naming(ended.stderr, wrong)
        assert ended.returncode != 0

    def test_production_without_secrets_does_not_start(self, tmp_path: Path) -> None:
        ended = run(BIN / "wisqu", "serve", "--port", "0", cwd=tmp_path, env=environment(APP_ENV="production"))

        _is_one_message_naming(ended.stderr, {"JWT_SECRET": "", "OPENROUTER_API_KEY": ""})
        assert ended.returncode != 0

    def test_a_database_that_does_not_answer_is_one_sentence(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        env = environment(DATABASE_URL=f"postgresql://nobody:hushhush@127.0.0.1:{port}/nothing")
        ended = run(BIN / "wisqu", "migrate", cwd=tmp_path, env=env)

        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 1
        assert "hushhush" not in ended.stderr
