"""docs/architecture.md: its rooms exist, its contracts are the checked ones, its statements are counted."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from app.services.assembly import Services
from app.services.chat_turn import Question
from tests.docs.pages import ROOT, code_words, page, section
from tests.emulator.process import EmulatorProcess
from tests.support.databases import SQLiteTemplates
from tests.support.served import make_settings

PAGE = "docs/architecture.md"


@pytest.fixture(scope="module")
def contracts() -> list[dict[str, Any]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[dict[str, Any]] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return found


def _rooms() -> set[str]:
    return {word for word in code_words(page(PAGE)) if word.startswith("app/")}


def test_every_room_of_the_plan_exists() -> None:
    assert [room for room in sorted(_rooms()) if not (ROOT / "src" / room).exists()] == []


def test_every_room_of_the_house_stands_in_the_plan() -> None:
    inside = [path for path in (ROOT / "src/app").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    rooms = {f"app/{path.name}" for path in inside if path.name != "__init__.py"}

    assert rooms <= _rooms()


def test_the_contracts_of_the_page_are_those_that_are_checked(contracts: list[dict[str, Any]]) -> None:
    lines = section(PAGE, "The floor plan").splitlines()

    assert [line[2:] for line in lines if line.startswith("- ")] == [each["name"] for each in contracts]


def test_every_service_of_the_contract_is_placed(contracts: list[dict[str, Any]]) -> None:
    layers = next(each["layers"] for each in contracts if each["name"].startswith("Inside services"))
    modules = {module.strip().rsplit(".", 1)[1] for layer in layers for module in layer.split("|")}
    words = {Path(word).stem for word in code_words(section(PAGE, "The floor plan"))}

    assert modules <= words


@pytest.mark.anyio
async def test_a_turn_takes_as_many_statements_as_the_page_says(tmp_path: Path, openrouter: EmulatorProcess) -> None:
    url = await SQLiteTemplates(tmp_path).make()
    services = Services.build(make_settings(database_url=url, data_dir=tmp_path, openrouter_url=openrouter.base_url))
    user = await services.auth.register(email="reader@example.com", password="long enough")
    conversation = await services.conversations.create(user.id)
    statements: list[str] = []
    event.listen(
        services.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )

    answer = await services.chat.ask(user.id, conversation.id, Question(content="What is patience?"))
    opened = _without_begin(statements)
    statements.clear()
    await answer.wait_for_reply()
    closed = _without_begin(statements)
    await services.aclose()

    noted = [each for each in closed if each.startswith("UPDATE quota_leases SET generation_id")]
    assert len(noted) == 1
    text = " ".join(section(PAGE, "A chat turn: open, call, close").split())
    assert f"These are {len(opened)} statements" in text
    assert f"One transaction again, {len(closed) - len(noted)} statements" in text


def _without_begin(statements: list[str]) -> list[str]:
    return [each for each in statements if not each.startswith(("BEGIN", "PRAGMA"))]
