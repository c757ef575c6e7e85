"""`wisqu users` and `wisqu plans` in processes of their own: what operators do without HTTP."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.live.test_command_line import wisqu
from tests.support.databases import prepare
from tests.support.served import make_settings

EMAIL = "amina@example.com"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A database with one customer on the Free plan, who wants Premium."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'wisqu.db'}"
    asyncio.run(_prepared(url, tmp_path))
    return {"PATH": "", "DATA_DIR": str(tmp_path)}


async def _prepared(url: str, folder: Path) -> None:
    await prepare(url)
    settings = make_settings(database_url=url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
    services = Services.build(settings)
    await services.auth.register(email=EMAIL, password="long enough", plan=PlanTier.FREE)
    await services.database.close()


def audit(environment: dict[str, str]) -> list[tuple[str, str, str | None]]:
    with sqlite3.connect(Path(environment["DATA_DIR"]) / "wisqu.db") as connection:
        return connection.execute("SELECT actor, action, reason FROM audit_log ORDER BY id").fetchall()


def test_plans_are_listed_with_version_and_price(environment: dict[str, str]) -> None:
    done = wisqu("plans", "list", environment=environment)

    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(PlanTier)
    assert "version 1    19.99 USD    2,000 messages" in done.stdout


def test_a_plan_is_set_shown_and_written_down(environment: dict[str, str]) -> None:
    done = wisqu("users", "set-plan", EMAIL, "premium", "--reason", "paid in cash", environment=environment)
    shown = wisqu("users", "show", EMAIL.upper(), environment=environment).stdout
    listed = wisqu("users", "list", "--email", "amina", environment=environment).stdout

    assert (done.returncode, done.stdout) == (0, f"{EMAIL} is on the Premium plan.\n"), done.stderr
    assert "premium, version 1, active" in shown
    assert "0 of 2,000" in shown
    assert listed.split()[:2] == [EMAIL, "premium"]
    assert audit(environment) == [
        ("cli", "subscription.set_plan", "paid in cash"),
        ("cli", "users.read", None),
        ("cli", "users.list", None),
    ]


def test_a_limit_is_agreed_upon_and_taken_back(environment: dict[str, str]) -> None:
    name = "cost_ceiling_usd_per_month"
    terms = ("--reason", "contract 12", "--expires-at", "2099-01-01")
    agreed = wisqu("users", "override", EMAIL, name, "12.50", *terms, environment=environment)
    shown = wisqu("users", "show", EMAIL, environment=environment).stdout
    ended = wisqu("users", "override", EMAIL, name, environment=environment)

    assert (agreed.returncode, ended.returncode) == (0, 0), agreed.stderr + ended.stderr
    assert f"{name} = 12.50, until 2099-01-01 00:00 UTC (contract 12)" in shown
    assert "of 12.50 USD" in shown
    assert "of 0.50 USD" in wisqu("users", "show", EMAIL, environment=environment).stdout
    assert [action for _, action, _ in audit(environment)] == [
        "overrides.set",
        "users.read",
        "overrides.remove",
        "users.read",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("users", "show", "nobody@example.com"), 1, "No account for 'nobody@example.com'."),
        (("users", "set-plan", EMAIL, "premium", "--version", "9", "--reason", "x"), 1, "has no version 9"),
        (("users", "set-plan", EMAIL, "gold", "--reason", "x"), 2, "gold"),
        (("users", "set-plan", EMAIL, "premium"), 2, "--reason"),
        (("users", "override", EMAIL, "max_presets", "many", "--reason", "x"), 1, "must be a whole number"),
        (("users", "override", EMAIL, "price", "1", "--reason", "x"), 1, "no limit of that name"),
        (("users", "override", EMAIL, "max_presets", "1"), 2, "--reason"),
        (("users", "override", EMAIL, "max_presets"), 1, "No override 'max_presets'."),
    ],
)
def test_a_mistake_is_told_in_words_and_changes_nothing(
    environment: dict[str, str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = wisqu(*arguments, environment=environment)

    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert words in done.stderr
    assert audit(environment) == []
