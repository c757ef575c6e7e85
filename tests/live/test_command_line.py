"""`wisqu` as an operator runs it: a process of its own, its output and its exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator.process import EmulatorProcess


@pytest.fixture
def environment(tmp_path: Path, openrouter: EmulatorProcess) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    address = {"OPENROUTER_API_KEY": "sk-or-v1-test", "OPENROUTER_BASE_URL": openrouter.base_url}
    return kept | address | {"DATA_DIR": str(tmp_path)}


def wisqu(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from app.cli import main; main()", *arguments]
    return subprocess.run(  # noqa: S603  (our own program)
        command, env=environment, cwd=environment["DATA_DIR"], capture_output=True, text=True, check=False
    )


def test_models_are_listed_with_price_and_plan(environment: dict[str, str]) -> None:
    done = wisqu("models", "list", "--q", "haiku 5.5", environment=environment)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    model, count = done.stdout.splitlines()
    assert " ".join(model.split()) == "anthropic/claude-haiku-5.5 1,000,000 tokens 0.10 in 0.50 out free"
    assert count == "1 models in all."


def test_the_shipped_list_serves_when_openrouter_is_away(environment: dict[str, str]) -> None:
    environment["OPENROUTER_BASE_URL"] = "http://127.0.0.1:9/api/v1"
    done = wisqu("models", "list", environment=environment)

    assert done.returncode == 0
    assert "shipped with this version" in done.stderr
    assert "openai/gpt-4o-mini" in done.stdout


def test_a_retired_model_is_shown_by_what_answers(environment: dict[str, str]) -> None:
    done = wisqu("models", "show", "anthropic/claude-3.5-sonnet", environment=environment)

    assert "'anthropic/claude-sonnet-5.5' answers in its place" in done.stdout
    assert "from premium on" in done.stdout


def test_a_model_nobody_knows_is_one_sentence_and_a_failure(environment: dict[str, str]) -> None:
    done = wisqu("models", "show", "nobody/nothing", environment=environment)

    assert done.returncode == 1
    assert done.stderr.startswith("No model 'nobody/nothing'.")
    assert "Traceback" not in done.stderr


def test_the_doctor_fails_until_the_database_is_prepared(environment: dict[str, str]) -> None:
    before = wisqu("doctor", environment=environment)
    assert wisqu("migrate", environment=environment).returncode == 0
    assert wisqu("seed", environment=environment).returncode == 0
    after = wisqu("doctor", environment=environment)

    assert before.returncode == 1
    assert "problem database: sqlite answers but lacks migrations. Run `wisqu migrate`." in before.stdout
    assert after.returncode == 0, after.stdout
    assert "ok      database: sqlite answers and is up to date." in after.stdout
    assert after.stderr == ""


def test_the_doctor_says_which_settings_are_wrong(environment: dict[str, str]) -> None:
    done = wisqu("doctor", environment=environment | {"JWT_SECRET": "short", "LLM_TEMPERATURE": "9"})

    assert done.returncode == 1
    assert "JWT_SECRET" in done.stdout
    assert "LLM_TEMPERATURE" in done.stdout
