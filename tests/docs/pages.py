"""The project's pages, and what stands in them."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


@cache
def page(path: str) -> str:
    """The text of a page, by its path from the root."""
    return (ROOT / path).read_text("utf-8")


def all_pages() -> list[str]:
    """Every Markdown page of the project."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in pages)


def section(path: str, heading: str) -> str:
    """What stands under a heading, up to the next one of the same or a higher level."""
    text = page(path)
    start = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"{path} has no section {heading!r}"
    rest = text[start.end() :]
    following = re.search(rf"^#{{1,{len(start.group(1))}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def code_blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return [body for name, body in _FENCE.findall(text) if name == language]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row, without headers and rulers."""
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    rulers = {index for index, row in enumerate(cells) if all(set(cell) <= set("-: ") for cell in row) and any(row)}
    return [row for index, row in enumerate(cells) if index not in rulers and index + 1 not in rulers]


def code_words(text: str) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def anchors(path: str) -> set[str]:
    """The anchors a page's headings make."""
    headings = _HEADING.findall(_FENCE.sub("", page(path)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
