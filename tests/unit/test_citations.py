"""The sources an answer names, whatever comes as one."""

from typing import Any

import pytest

from app.services.citations import MOST_CITATIONS, Source, Sources, sources_of

TEXT = "صبر یعنی شکیبایی. Patience."


def cited(**fields: Any) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"url": "https://a.example/p", "title": "A", **fields}}


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JAVASCRIPT://a.example/%0aalert(1)",
        "data:text/html,<script>",
        "ftp://a.example/file",
        "file://a.example/etc/passwd",
        "//a.example/p",
        "https:///p",
        "https://somebody:secret@a.example/",
        "https://a.example/a b",
        "https://a.example/\u202egpj.exe",
        "https://a.example/\n",
        "https://[::1",
        "https://a.example/\0",
        "https://a.example/" + "x" * 2_000,
        "",
        None,
        7,
        ["https://a.example"],
    ],
)
def test_what_is_no_page_is_passed_over(url: Any) -> None:
    assert sources_of([cited(url=url)], TEXT) == []


@pytest.mark.parametrize(
    "annotation", [{}, {"type": "file", "file": {}}, {"type": "url_citation"}, cited() | {"type": 1}]
)
def test_so_is_what_is_no_citation(annotation: dict[str, Any]) -> None:
    assert sources_of([annotation], TEXT) == []


@pytest.mark.parametrize(
    ("start", "end", "place"),
    [
        (0, 17, (0, 17)),
        (18, len(TEXT), (18, len(TEXT))),
        (0, len(TEXT) + 1, (None, None)),
        (0, 0, (None, None)),
        (5, 3, (None, None)),
        (-1, 3, (None, None)),
        (0, True, (None, None)),
        (0.0, 3.0, (None, None)),
        ("0", "3", (None, None)),
        (None, 3, (None, None)),
    ],
)
def test_a_place_is_one_in_the_text_or_none(start: Any, end: Any, place: tuple[int | None, int | None]) -> None:
    (source,) = sources_of([cited(start_index=start, end_index=end)], TEXT)
    assert (source.start_index, source.end_index) == place


def test_titles_are_short_and_in_one_line() -> None:
    (source,) = sources_of([cited(title="A\n title\0 \t" + "x" * 500)], TEXT)
    assert source.title == ("A title " + "x" * 500)[:300]
    assert [
        each.title for each in sources_of([cited(title=["A"]), cited(url="https://b.example", title=" ")], TEXT)
    ] == [
        None,
        None,
    ]


def test_each_place_is_named_once_and_a_page_without_one_only_where_it_is_new() -> None:
    found = sources_of([cited(start_index=0, end_index=3), cited(start_index=0, end_index=3), cited()], TEXT)
    assert found == [Source(url="https://a.example/p", title="A", start_index=0, end_index=3)]
    assert len(sources_of([cited(start_index=0, end_index=3), cited(start_index=4, end_index=5)], TEXT)) == 2


def test_there_is_a_bound() -> None:
    many = [cited(url=f"https://a.example/{number}") for number in range(MOST_CITATIONS + 5)]
    assert len(sources_of(many, TEXT)) == MOST_CITATIONS


def test_a_new_beginning_forgets() -> None:
    sources = Sources()
    assert sources.add(cited()) is not None
    assert sources.add(cited()) is None
    sources.clear()
    assert sources.within(TEXT) == []
    assert sources.add(cited()) is not None
