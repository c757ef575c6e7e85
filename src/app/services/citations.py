"""The sources an answer names: safe to show, each once, not too many, at places that are there."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.core.text import storable

MOST_CITATIONS = 100
MOST_URL_CHARS, MOST_TITLE_CHARS = 2_000, 300
_SCHEMES = frozenset({"http", "https"})


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A page, and the place in the text it stands for: characters from ``start_index`` up to, but not including,
    ``end_index``; both ``None`` where the place is not known.
    """

    url: str
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Sources:
    """Takes the annotations of one answer in the order they come; what is not a source, or was named before, is
    passed over.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, int | None, int | None], Source] = {}
        self._urls: set[str] = set()

    def add(self, annotation: Mapping[str, Any]) -> Source | None:
        """The source, if it is a new one."""
        source = _read(annotation)
        if source is None or len(self._found) >= MOST_CITATIONS:
            return None
        key = (source.url, source.start_index, source.end_index)
        if key in self._found or (source.start_index is None and source.url in self._urls):
            return None
        self._found[key] = source
        self._urls.add(source.url)
        return source

    def clear(self) -> None:
        """Forget all: what they were named in is void."""
        self._found.clear()
        self._urls.clear()

    def within(self, text: str) -> list[Source]:
        """All of them, for the text they were named in: what lies behind its end is no place in it."""
        return [each if _is_within(each, text) else _without_place(each) for each in self._found.values()]


def sources_of(annotations: Iterable[Mapping[str, Any]], text: str) -> list[Source]:
    """The sources that a whole answer names."""
    sources = Sources()
    for each in annotations:
        sources.add(each)
    return sources.within(text)


def _read(annotation: Mapping[str, Any]) -> Source | None:
    cited = annotation.get("url_citation")
    if annotation.get("type") != "url_citation" or not isinstance(cited, Mapping):
        return None
    url = _safe(cited.get("url"))
    if url is None:
        return None
    title = cited.get("title")
    start, end = _place(cited.get("start_index"), cited.get("end_index"))
    words = " ".join(storable(title).split())[:MOST_TITLE_CHARS] if isinstance(title, str) else None
    return Source(url=url, title=words or None, start_index=start, end_index=end)


def _safe(url: Any) -> str | None:
    """An address that a browser opens as a page: nothing that runs, nothing that logs in."""
    if not isinstance(url, str) or len(url) > MOST_URL_CHARS or storable(url) != url:
        return None
    if any(each.isspace() or not each.isprintable() for each in url):
        return None
    try:
        parts = urlsplit(url)
        is_page = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.username is None
    except ValueError:
        return None
    return url if is_page else None


def _place(start: Any, end: Any) -> tuple[int | None, int | None]:
    """Some hosts say 0 and 0 of every place."""
    if isinstance(start, bool) or isinstance(end, bool) or not isinstance(start, int) or not isinstance(end, int):
        return None, None
    return (start, end) if 0 <= start < end < 2**31 else (None, None)


def _is_within(source: Source, text: str) -> bool:
    return source.end_index is None or source.end_index <= len(text)


def _without_place(source: Source) -> Source:
    return Source(url=source.url, title=source.title)
