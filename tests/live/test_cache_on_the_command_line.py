"""`wisqu cache lint` in a process of its own."""

import asyncio
import sqlite3
from pathlib import Path
from uuid import UUID

import pytest

from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.live.test_command_line import wisqu
from tests.support.databases import prepare
from tests.support.served import make_settings


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": "", "DATA_DIR": str(tmp_path)}


def test_a_file_that_breaks_its_prefix_is_told_line_by_line(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Be kind.\nIt is 2026-11-25T10:20:31Z.\n")
    done = wisqu("cache", "lint", str(tmp_path / "prompt.txt"), environment=environment)

    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    assert first.startswith("system prompt:2: clock: '2026-11-25T10:20:31Z.'.")
    assert last == "Breaks the prefix: 1."


def test_a_clean_file_ends_well(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Be kind.")
    done = wisqu("cache", "lint", str(tmp_path / "prompt.txt"), environment=environment)
    assert (done.returncode, done.stdout) == (0, "Breaks the prefix: nothing.\n"), done.stderr


@pytest.mark.parametrize("name", ["missing.txt", "broken.json"])
def test_what_cannot_be_read_is_one_sentence(environment: dict[str, str], tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.json").write_text('{"messages": ')
    done = wisqu("cache", "lint", str(tmp_path / name), environment=environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_preset_is_looked_at_and_written_down(environment: dict[str, str], tmp_path: Path) -> None:
    preset_id = asyncio.run(_keep_preset(tmp_path))
    done = wisqu("cache", "lint", "--preset", str(preset_id), environment=environment)

    assert (done.returncode, done.stdout.splitlines()[0][:28]) == (1, "preset greeter:1: template: "), done.stderr
    with sqlite3.connect(tmp_path / "wisqu.db") as connection:
        assert connection.execute("SELECT actor, action FROM audit_log").fetchall() == [("cli", "presets.read")]


async def _keep_preset(folder: Path) -> UUID:
    url = f"sqlite+aiosqlite:///{folder / 'wisqu.db'}"
    await prepare(url)
    services = Services.build(
        make_settings(database_url=url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
    )
    user = await services.auth.register(email="amina@example.com", password="long enough", plan=PlanTier.FREE)
    preset = await services.presets.create(
        user.id, name="Greeter", slug="greeter", model="openai/gpt-4o-mini", system_prompt="Hello {{name}}."
    )
    await services.database.close()
    return preset.id
