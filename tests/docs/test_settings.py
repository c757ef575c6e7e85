"""README, ``.env.example`` and :class:`Settings` name the same settings with the same defaults."""

import re
from pathlib import Path

import pytest

from app.core.config import Settings
from tests.docs.pages import ROOT, code_words, page, section, table_rows

USED_BY_THE_SETTINGS_THEMSELVES = {"data_dir", "database_url", "redis_url", "llm_provider"}
NO_EFFECT = "*no effect yet*"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def _readme_rows() -> dict[str, tuple[str, str]]:
    """Each documented variable with its default and its explanation."""
    rows = table_rows(section("README.md", "Configuration"))
    return {code_words(name)[0]: ("".join(code_words(default)), text) for name, default, text in rows}


def _variables() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def _example_lines() -> list[str]:
    return [line for line in page(".env.example").splitlines() if line and not line.startswith("#")]


def test_the_readme_lists_every_setting_in_the_order_of_the_code() -> None:
    assert list(_readme_rows()) == _variables()


def test_the_example_file_lists_every_setting_once() -> None:
    assert sorted(line.partition("=")[0] for line in _example_lines()) == sorted(_variables())


def test_the_readme_states_the_true_defaults(tmp_path: Path) -> None:
    stated = tmp_path / "stated.env"
    stated.write_text("".join(f"{name}={default}\n" for name, (default, _) in _readme_rows().items()))

    assert Settings(_env_file=stated).model_dump() == Settings(_env_file=None).model_dump()


def test_the_example_file_changes_nothing_and_holds_no_secret() -> None:
    example = Settings(_env_file=ROOT / ".env.example")

    assert example.model_dump() == Settings(_env_file=None).model_dump()
    assert (example.jwt_secret, example.openrouter_api_key, example.redis_url) == (None, None, None)


def test_the_example_file_marks_the_same_settings_as_without_effect() -> None:
    marked, is_marked = set(), {"section": False, "comment": False}
    for line in page(".env.example").splitlines():
        if line.startswith("# ---"):
            is_marked = {"section": "no effect yet" in line, "comment": False}
        elif line.startswith("#"):
            is_marked["comment"] = "no effect yet" in line
        elif line and any(is_marked.values()):
            marked.add(line.partition("=")[0])

    assert marked == {name for name, (_, text) in _readme_rows().items() if text.startswith(NO_EFFECT)}


def test_settings_said_to_have_no_effect_are_those_nothing_reads() -> None:
    sources = [path for path in (ROOT / "src/app").rglob("*.py") if path.name != "config.py"]
    code = "\n".join(path.read_text("utf-8") for path in sources)
    unread = {name for name in Settings.model_fields if not re.search(rf"\.{name}\b", code)}
    stated = {name.lower() for name, (_, text) in _readme_rows().items() if text.startswith(NO_EFFECT)}

    assert stated == unread - USED_BY_THE_SETTINGS_THEMSELVES
