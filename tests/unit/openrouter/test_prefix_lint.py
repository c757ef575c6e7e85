"""What breaks a prefix is named with its line; what does not is left alone."""

import json
from typing import Any

import pytest

from app.domain.modes import MODES
from app.openrouter.prefix_lint import Finding, UnreadableRecording, lint_recording, lint_text


def rules(findings: list[Finding]) -> list[str]:
    return [each.rule for each in findings]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("It is 2026-11-25T10:20:31Z.", "clock"),
        ("It is 2026-11-25 10:20.", "clock"),
        ("Started at 10:20:31.", "clock"),
        ("The current time is 9:05.", "clock"),
        ("Generated 20261125T102031Z.", "clock"),
        ("timestamp=1790000000", "clock"),
        ("timestamp=1790000000123", "clock"),
        ("Session 01a211d5-9f06-754f-a4f3-5a13aaabfe24", "random-id"),
        ("etag 9f86d081884c7d65", "random-id"),
        ("You serve req_8fhs7dh2k1", "random-id"),
        ("Session: 01HZX5K8Q3V7YB2N4M6P8R0T1W", "random-id"),
        ("Hello {{ user.name }}.", "template"),
        ("Hello ${name}.", "template"),
        ("Hello {first_name}.", "template"),
        ("Hello %(name)s.", "template"),
        ('<document index="1">', "documents"),
        ("## Search results:", "documents"),
        ("[1] https://example.com/a", "documents"),
    ],
)
def test_each_thing_that_changes_is_named_with_its_line(line: str, rule: str) -> None:
    (found,) = lint_text(f"Be kind.\n{line}\nBe brief.")
    assert (found.rule, found.line, found.breaks) == (rule, 2, True)
    assert found.advice


@pytest.mark.parametrize("day", ["2026-11-25", "25 November 2026", "Nov. 25th, 2026", "25/11/2026", "25.11.2026"])
def test_a_day_may_be_named_with_a_warning(day: str) -> None:
    (found,) = lint_text(f"Today is {day}.")
    assert (found.rule, found.breaks) == ("date", False)


@pytest.mark.parametrize(
    "text",
    [
        "Pray five times: at dawn (about 05:12 in Mecca), noon, afternoon, sunset and night.",
        "Cite as Bukhari 6018, Qur'an 2:255, volume 3:12.",
        'Answer as JSON: {"rating": 5}',
        "In 1445 AH, that is 2023-2024.",
        "Use CSS like a{color:red}; mention the deadbeef joke.",
        "Documents and sources are named in the answer.",
        "On the time of prayer see Qur'an 4:10, now read sura 2:45.",
        "Be careful in request-handling, session-management and msg_templates.",
        "[Role] You are a teacher.",
    ],
)
def test_what_stays_is_left_alone(text: str) -> None:
    assert lint_recording(text) == lint_text(text) == []


def test_our_own_modes_are_clean() -> None:
    assert [found for mode in MODES.values() for found in lint_text(mode.system_prompt)] == []


def said(*turns: str, system: str = "Be kind.") -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": "system", "content": system}] + [
        {"role": roles[at % 2], "content": text} for at, text in enumerate(turns)
    ]


class TestRecordings:
    def test_a_text_is_a_system_prompt(self) -> None:
        assert rules(lint_recording("It is 10:20:31.")) == ["clock"]
        assert rules(lint_recording("{{greeting}} and be kind.")) == ["template"]

    def test_a_preset_is_read_by_its_prompt(self) -> None:
        assert rules(lint_recording(json.dumps({"slug": "a", "system_prompt": "Hello ${name}"}))) == ["template"]

    def test_times_in_what_was_said_stay_as_they_are(self) -> None:
        assert lint_recording(json.dumps(said("It is 10:20:31 here.", "Then it is time.", "Thanks"))) == []

    def test_the_system_prompt_is_looked_at_wherever_it_stands(self) -> None:
        messages = [*said("a"), {"role": "system", "content": [{"type": "text", "text": "It is 10:20:31."}]}]
        found = lint_recording(json.dumps(messages))
        assert rules(found) == ["clock", "late-system"]
        assert found[0].place == "message 3 (system)"

    def test_documents_belong_into_the_newest_message(self) -> None:
        cited = "<documents>\nx\n</documents> What is that?"
        assert lint_recording(json.dumps(said("a", "b", cited))) == []
        assert rules(lint_recording(json.dumps(said(cited, "b", "c")))) == ["documents"]

    def test_tools_want_an_order(self) -> None:
        tools = [{"function": {"name": name}, "type": "function"} for name in ("verse", "hadith")]
        found = lint_recording(json.dumps({"messages": said("a"), "tools": tools}))
        assert rules(found) == ["unordered-tools"]
        assert lint_recording(json.dumps({"messages": said("a"), "tools": tools[::-1]})) == []
        turned = [{"type": "function", "function": {"name": "a"}}]
        (keys,) = lint_recording(json.dumps({"messages": said("a"), "tools": turned}))
        assert (keys.rule, keys.breaks) == ("unordered-keys", False)

    def test_a_request_that_does_not_go_on_from_the_one_before_is_named(self) -> None:
        requests = [{"messages": said("a")}, {"messages": said("a", "b", "c")}, {"messages": said("x", "b", "c", "d")}]
        (found,) = lint_recording(json.dumps(requests))
        assert (found.place, found.rule, found.text) == ("request 3", "departs", "message 2")

    def test_what_is_in_every_request_is_named_once(self) -> None:
        clocked = "It is 10:20:31."
        requests = [said("a", system=clocked), said("a", "b", "c", system=clocked)]
        assert rules(lint_recording(json.dumps(requests))) == ["clock"]

    @pytest.mark.parametrize(
        "source",
        [
            "{",
            "[1, 2]",
            "{}",
            "[]",
            '[{"role": "user"}, 1]',
            '{"messages": [{}]}',
            '[{"role": "user", "content": 5}]',
            '[{"role": "user", "content": ["text"]}]',
            '{"messages": [{"role": "user", "content": "Hi"}], "tools": [1]}',
            '{"messages": [{"role": "user", "content": "Hi"}], "tools": {"name": "x"}}',
        ],
    )
    def test_what_is_no_recording_is_refused(self, source: str) -> None:
        with pytest.raises(UnreadableRecording):
            lint_recording(source)
