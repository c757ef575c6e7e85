"""Links inside the project lead somewhere, and the pages hold no address of this machine."""

import re
from pathlib import PurePosixPath

import pytest

from tests.docs.pages import ROOT, all_pages, anchors, page

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", all_pages())
def test_internal_links_resolve(path: str) -> None:
    broken = [link for link in _LINK.findall(page(path)) if "://" not in link and not _resolves(path, link)]

    assert broken == []


def _resolves(path: str, link: str) -> bool:
    target, _, anchor = link.partition("#")
    found = (ROOT / PurePosixPath(path).parent / target).resolve() if target else ROOT / path
    if not found.exists():
        return False
    return not anchor or anchor in anchors(str(found.relative_to(ROOT)))


def test_every_decision_is_numbered_once_and_in_one_form() -> None:
    decisions = [path for path in all_pages() if path.startswith("docs/decisions/")]

    assert [int(PurePosixPath(path).name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        assert page(path).startswith(f"# {int(PurePosixPath(path).name[:4])}. ")
        assert re.findall(r"^## (.*)$", page(path), re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
            "Alternatives",
        ]


def test_decisions_that_sources_refer_to_exist() -> None:
    numbers = {path[len("docs/decisions/") :][:4] for path in all_pages() if path.startswith("docs/decisions/")}
    sources = [ROOT / "pyproject.toml", *(ROOT / "src").rglob("*.py")]
    named = {number for file in sources for number in re.findall(r"docs/decisions/(\d{4})", file.read_text("utf-8"))}

    assert named <= numbers
