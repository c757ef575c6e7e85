"""The README is run: its tour against the demo, its Python scripts and its commands in a fresh folder."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, code_blocks, code_words, page, section, table_rows
from tests.docs.processes import BIN, QUICK_PASSWORDS, Running, checkout, environment, run, running
from tests.emulator.process import EmulatorProcess

pytestmark = pytest.mark.timeout(120)
README = "README.md"
BETWEEN = "\n===== next block =====\n"
MIGRATE_AND_SEED = ("alembic upgrade head", "python scripts/seed_plan_limits.py")


def _blocks(heading: str) -> list[str]:
    return code_blocks(section(README, heading), "bash")


def _commands(heading: str) -> list[str]:
    return [line for block in _blocks(heading) for line in block.splitlines()]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return checkout(tmp_path / "clone")


def _shell(command: str, *, cwd: Path, env: dict[str, str]) -> str:
    ended = run("bash", "-euo", "pipefail", "-c", command, cwd=cwd, env=env, seconds=90)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


class TestTour:
    @pytest.fixture
    def demo_url(self, tmp_path: Path) -> Iterator[str]:
        folder = tmp_path / "demo"
        command = (BIN / "wisqu", "demo", "--port", "0", "--data-dir", folder / "data")
        with running(
            *command, folder=folder, cwd=folder, env=environment(**QUICK_PASSWORDS, RATE_LIMITS_ENABLED="false")
        ) as demo:
            yield _url_of(demo)

    def test_the_tour_works_as_pasted_and_again(self, demo_url: str, tmp_path: Path) -> None:
        first, second = _take_the_tour(demo_url, tmp_path), _take_the_tour(demo_url, tmp_path)

        assert json.loads(first[1])["email"] == "amina@example.com"
        assert json.loads(second[1])["error"] == "email_taken"
        for _, _, log_in, begin, chat, stream, listed, title, usage, delete in (first, second):
            assert json.loads(log_in)["full_name"] == "Amina"
            conversation = begin.strip()
            answer = json.loads(chat)
            assert answer["conversation_id"] == conversation
            assert answer["content"]
            names = re.findall(r"^event: (.*)$", stream, re.MULTILINE)
            assert (names[0], names[-1]) == ("message.started", "message.completed")
            assert "content.delta" in names
            assert json.loads(listed)["items"][0]["id"] == conversation
            assert title.strip()
            assert json.loads(usage)["messages"]["used"] >= 2
            assert delete.strip() == "204"

    def test_the_python_reader_of_the_api_page_reads_a_stream(self, demo_url: str, tmp_path: Path) -> None:
        log_in = "\n".join(_blocks("A tour with curl")[:4]).replace("http://127.0.0.1:8000", demo_url)
        (tmp_path / "read.py").write_text(code_blocks(section("docs/api.md", "Reading a stream"), "python")[0])

        said = _shell(f"{log_in}\nexport API TOKEN CONVERSATION\npython read.py", cwd=tmp_path, env=environment())

        assert re.search(r"\n\n\S+/\S+: [\d.]+ USD\n$", said), said


def _take_the_tour(url: str, folder: Path) -> list[str]:
    """Paste the blocks into one shell, as they stand but for the port; what each printed."""
    separator = f"printf '%s' '{BETWEEN}'\n"
    script = separator.join(_blocks("A tour with curl")).replace("http://127.0.0.1:8000", url)
    return _shell(script, cwd=folder, env=environment()).split(BETWEEN)


def _url_of(demo: Running) -> str:
    demo.wait_until("Application startup complete")
    found = re.search(r"WisQu starts on (\S+)", demo.said)
    assert found is not None, demo.said
    demo.wait_until_ready(found.group(1))
    return found.group(1)


class TestPythonScripts:
    @pytest.fixture
    def upstream(self, openrouter: EmulatorProcess) -> dict[str, str]:
        return environment(
            OPENROUTER_API_KEY="any-text-will-do", OPENROUTER_BASE_URL=openrouter.base_url, **QUICK_PASSWORDS
        )

    @pytest.fixture
    def scripts(self) -> list[str]:
        return code_blocks(section(README, "From Python"), "python")

    def test_a_single_completion(self, clone: Path, upstream: dict[str, str], scripts: list[str]) -> None:
        (clone / "ask.py").write_text(scripts[0])

        said = _shell("python ask.py", cwd=clone, env=upstream)

        assert re.search(r"\nAnswered by anthropic/\S+ for 0\.\d+ USD\.\n$", said), said

    def test_a_whole_turn_twice(self, clone: Path, upstream: dict[str, str], scripts: list[str]) -> None:
        (clone / "chat.py").write_text(scripts[1])
        for command in MIGRATE_AND_SEED:
            _shell(command, cwd=clone, env=upstream)

        for _ in range(2):
            said = _shell("python chat.py", cwd=clone, env=upstream)
            assert re.search(r"\S+\n\n\d+ tokens, 0\.\d+ USD\n$", said), said

    def test_a_picture(self, clone: Path, upstream: dict[str, str], scripts: list[str]) -> None:
        (clone / "draw.py").write_text(scripts[2])
        for command in MIGRATE_AND_SEED:
            _shell(command, cwd=clone, env=upstream)

        said = _shell("python draw.py", cwd=clone, env=upstream)
        assert re.search(r"1344x768 by google/gemini-2.5-flash-image for 0\.\d+ USD: /api/v1/images/\S+\n$", said), said


class TestCommands:
    def test_the_specified_commands_stand_in_the_readme(self) -> None:
        commands = _commands("Step by step, with your own tools")

        assert commands[:4] == ["poetry install", *MIGRATE_AND_SEED, "uvicorn app.main:app --reload"]

    def test_migrating_and_seeding_twice_then_serving(self, clone: Path, openrouter: EmulatorProcess) -> None:
        env = environment(OPENROUTER_API_KEY="any-text-will-do", OPENROUTER_BASE_URL=openrouter.base_url)
        migrate, seed = MIGRATE_AND_SEED

        _shell(migrate, cwd=clone, env=env)
        _shell(migrate, cwd=clone, env=env)
        assert _shell(seed, cwd=clone, env=env) == "Plans written: free, premium, unlimited, enterprise.\n"
        assert _shell(seed, cwd=clone, env=env) == "All plans are up to date.\n"
        serve = ("uvicorn", "app.main:app", "--reload", "--port", "0")
        with running(BIN / serve[0], *serve[1:], folder=clone / "logs", cwd=clone, env=env) as server:
            server.wait_until("Application startup complete")
            found = re.search(r"running on (http://\S+)", server.logged)
            assert found is not None, server.logged
            server.wait_until_ready(found.group(1))

        assert (clone / "data" / "wisqu.db").exists()

    def test_seeding_with_wrong_settings_is_one_message(self, clone: Path) -> None:
        ended = run(BIN / "python", "scripts/seed_plan_limits.py", cwd=clone, env=environment(LLM_TEMPERATURE="77"))

        assert (ended.returncode, ended.stderr.splitlines()[0]) == (1, "Wrong settings:")
        assert "Traceback" not in ended.stderr

    def test_the_named_tests_exist(self) -> None:
        line = next(line for line in _commands("Step by step, with your own tools") if line.startswith("pytest "))

        assert [name for name in line.split()[1:] if not (ROOT / name).is_file()] == []

    def test_the_readme_lists_every_target_of_make(self, clone: Path) -> None:
        helped = re.findall(r"^([a-z-]+) ", _shell("make -s help", cwd=clone, env=environment()), re.MULTILINE)
        rows = [row[0] for row in table_rows(section(README, "Two commands"))]

        assert sorted(code_words(name)[0] for name in rows) == sorted(f"make {target}" for target in helped)

    def test_every_place_it_names_exists(self) -> None:
        places = [code_words(row[0])[0] for row in table_rows(section(README, "Where things live"))]

        assert [place for place in places if place != "data/" and not (ROOT / place).exists()] == []

    def test_every_command_of_wisqu_it_names_exists(self, tmp_path: Path) -> None:
        named = {" ".join(words.split()[1:3]) for words in code_words(page(README)) if "wisqu " in words}
        helped = "".join(
            run(BIN / "wisqu", *group, "--help", cwd=tmp_path, env=environment()).stdout for group in ((), ("users",))
        )

        assert named
        assert [each for each in named if each.removeprefix("users ").split()[0] not in helped] == []
