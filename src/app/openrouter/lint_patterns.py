"""What in a text makes the beginning of a prompt differ from one request to the next."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """`breaks`: every request would differ; else it might, or it differs only once in a long while."""

    rule: str
    expression: re.Pattern[str]
    advice: str
    breaks: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """Something found in a line, counted from 1."""

    line: int
    text: str
    pattern: Pattern


def _pattern(rule: str, expression: str, advice: str, *, breaks: bool = True) -> Pattern:
    return Pattern(rule, re.compile(expression, re.IGNORECASE), advice, breaks)


_DATE = r"\b(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_TIME = r"(?:[01]?\d|2[0-3]):[0-5]\d"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = r"[0-3]?\d(?:st|nd|rd|th)?"
_YEAR = r"(?:19|20)\d\d\b"
_VERSE = r"qur.?an|s[uū]ra|verse|[aā]yah?"
"""What makes `2:45` the place of a verse and no time of day."""
_ID_ADVICE = "Leave ids out of the prompt's beginning, or send them in the newest message."
_CLOCK_ADVICE = "Name the day at most, or put the time into the newest message."

PATTERNS: tuple[Pattern, ...] = (
    _pattern("clock", _DATE + r"[T ]" + _TIME + r"\S*", _CLOCK_ADVICE),
    _pattern("clock", r"\b" + _TIME + r":[0-5]\d\b", _CLOCK_ADVICE),
    _pattern("clock", r"\b20\d{6}T\d{4}(?:\d\d)?Z?\b", _CLOCK_ADVICE),
    _pattern(
        "clock",
        rf"\b(?:now|current|time|clock|today)\b(?:(?!{_VERSE})[^\n.]){{0,30}}?\b{_TIME}\b",
        _CLOCK_ADVICE,
    ),
    _pattern("clock", r"\b1[5-9]\d{8}(?:\d{3})?\b", _CLOCK_ADVICE),
    _pattern(
        "date",
        rf"{_DATE}\b|\b{_DAY} {_MONTH},? {_YEAR}|\b{_MONTH} {_DAY},? {_YEAR}|\b[0-3]?\d([./])[0-3]?\d\1{_YEAR}",
        "It changes once a day: the first request of each day writes anew.",
        breaks=False,
    ),
    _pattern(
        "random-id",
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        _ID_ADVICE,
    ),
    _pattern(
        "random-id",
        r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{16,}\b",
        _ID_ADVICE,
    ),
    _pattern(
        "random-id",
        r"\b(?:req|request|session|trace|run|gen|msg|chatcmpl)[-_](?=[a-z]*\d)[0-9a-z]{8,}\b",
        _ID_ADVICE,
    ),
    _pattern(
        "random-id",
        r"\b(?=[a-z]*\d)[0-7][0-9a-hjkmnp-tv-z]{25}\b",
        _ID_ADVICE,
    ),
    _pattern(
        "template",
        r"\{\{[^{}\n]{1,80}\}\}|\$\{[^{}\n]{1,80}\}|%\([a-z_]\w*\)[sd]|<%=?[^%\n]{1,80}%>|(?<![{\w])\{[a-z_][\w.]*\}(?!\})",
        "What is filled in here is part of the prefix: fill in what never changes, the rest in the newest message.",
    ),
    _pattern(
        "documents",
        r"<\s*(?:documents?|context|search_results?|sources?|citations?)\b",
        "Documents of one turn belong into the newest message, behind everything that stays.",
    ),
    _pattern(
        "documents",
        r"^\s*(?:#+\s*)?(?:search results|retrieved (?:documents|passages)|sources|citations|references)\s*:?\s*$",
        "Documents of one turn belong into the newest message, behind everything that stays.",
    ),
    _pattern(
        "documents",
        r"^\s*\[\d+\]:?\s+\S*https?://",
        "Citations of one turn belong into the newest message, behind everything that stays.",
    ),
)


def find_in(text: str) -> Iterator[Match]:
    """What breaks a prefix in this text, line by line; a place is named once, by the first pattern that fits it."""
    for number, line in enumerate(text.splitlines(), start=1):
        taken = bytearray(len(line))  # a mark for each sign, so that a line full of places is still read in one go
        for pattern in PATTERNS:
            for found in pattern.expression.finditer(line):
                start, end = found.span()
                if taken.find(1, start, end) < 0:
                    taken[start:end] = b"\x01" * (end - start)
                    yield Match(number, found[0].strip(), pattern)
