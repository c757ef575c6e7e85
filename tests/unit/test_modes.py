"""The modes of a conversation, as their file gives them."""

import re

import pytest

from app.domain.modes import DEFAULT_MODE, MODES, Mode, mode_or_default

EVERY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())


def test_the_documented_mode_is_the_default_one() -> None:
    assert DEFAULT_MODE == "standard"
    assert mode_or_default("standard").name == "standard"


def test_a_mode_that_is_gone_falls_back_to_the_default() -> None:
    assert mode_or_default("oracle") is MODES[DEFAULT_MODE]


def test_the_common_rules_are_no_mode() -> None:
    assert "common" not in MODES


@EVERY_MODE
def test_a_mode_says_what_it_is(mode: Mode) -> None:
    assert MODES[mode.name] is mode
    assert mode.title
    assert mode.description.endswith(".")
    assert re.fullmatch(r"[a-z_]{1,40}", mode.name)


@EVERY_MODE
def test_every_mode_ends_in_the_rules_all_modes_share(mode: Mode) -> None:
    own, _, rules = mode.system_prompt.partition("How to answer, in every mode:")

    assert own.strip()
    assert rules == MODES[DEFAULT_MODE].system_prompt.partition("How to answer, in every mode:")[2]
    assert "not a mufti" in rules
    assert "Never invent a reference" in rules


@EVERY_MODE
def test_a_system_prompt_holds_nothing_that_changes(mode: Mode) -> None:
    assert not re.search(r"[{}$%]|\b20\d\d\b", mode.system_prompt)


def test_no_two_modes_speak_alike() -> None:
    assert len({mode.system_prompt for mode in MODES.values()}) == len(MODES)
