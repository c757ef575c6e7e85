"""Citations and parsed files, each once, whatever way they come."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.openrouter.reading import as_map, as_maps, as_text, as_texts
from app.openrouter.types import AnnotationDelta


class AnnotationFold:
    """Gathers annotations. Some hosts repeat all of them on every chunk, and old ones only list URLs."""

    def __init__(self) -> None:
        self._annotations: list[Mapping[str, Any]] = []
        self._cited: set[str] = set()

    def feed(self, annotations: Any, *, places_hold: bool = True) -> Iterator[AnnotationDelta]:
        """Take annotations; `places_hold`: the text is to the letter what the places in them are counted in."""
        for told in as_maps(annotations):
            annotation = told if places_hold else _without_place(told)
            if annotation not in self._annotations:
                self._annotations.append(annotation)
                self._cited.add(as_text(as_map(annotation.get("url_citation")).get("url")) or "")
                yield AnnotationDelta(annotation)

    def cite(self, urls: Any) -> Iterator[AnnotationDelta]:
        """Take the old top-level list of cited URLs; what is properly cited already is passed over."""
        for url in as_texts(urls):
            if url not in self._cited:
                yield from self.feed([{"type": "url_citation", "url_citation": {"url": url}}])

    def annotations(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._annotations)


def _without_place(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    cited = as_map(annotation.get("url_citation"))
    if not cited:
        return annotation
    return {**annotation, "url_citation": {k: v for k, v in cited.items() if k not in ("start_index", "end_index")}}
