"""Documents read by OpenRouter's parser: which engine reads them, what was read, and how it is sent back.

What was read comes with the answer as annotations. A prompt in which an assistant message bears them again is not
parsed, nor charged for parsing, a second time.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import msgspec

from app.openrouter.media import UNSEEN_PAGES, Media
from app.openrouter.reading import as_decimal, as_map, as_maps, as_text, read_exact

PdfEngine = Literal["native", "cloudflare-ai", "mistral-ocr"]
"""`native`: the model itself reads the file, as input tokens. `cloudflare-ai`: the text it holds, for nothing.
`mistral-ocr`: what can be seen on its pages, at a price a page."""

PdfOption = Literal["auto", "native", "text", "ocr"]
"""What may be asked for: `text` and `ocr` are the last two engines, `auto` the best that costs nothing by itself."""

OCR_USD_PER_PAGE = Decimal("0.002")
ACKNOWLEDGED = "I have read it."
"""What an assistant says between a document that was read before and the question about it. It never changes: prompts
are found in a cache by every letter."""
MOST_ANNOTATION_BYTES = 4_000_000
"""Of one document: what is longer is kept without the pictures that were found in it."""

Wire = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the documents of a prompt are read: `fresh` by `engine`, the others were read before."""

    engine: PdfEngine
    fresh: tuple[Media, ...] = ()

    @property
    def is_recognition(self) -> bool:
        """It costs something by the page."""
        return self.engine == "mistral-ocr" and bool(self.fresh)

    @property
    def pages(self) -> int | None:
        """Of all that is read now; None where that is not known of each."""
        known = [each.pages for each in self.fresh if each.pages]
        return sum(known) if len(known) == len(self.fresh) else None

    @property
    def most_usd(self) -> Decimal:
        """What reading may cost."""
        pages = sum(each.pages or UNSEEN_PAGES for each in self.fresh)
        return pages * OCR_USD_PER_PAGE if self.is_recognition else Decimal(0)


@dataclass(frozen=True, slots=True)
class ReadBefore:
    """What an engine read of a document, and the answer with which that came."""

    engine: PdfEngine
    message_id: str
    annotation: Wire


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine reads what was not read before, and what of that which was is sent back, by source."""

    engine: PdfEngine
    known: Mapping[str, ReadBefore]

    def reading(self, files: Iterable[Media]) -> Reading:
        """For the documents that really go along. Where nothing is left to read, the engine that costs nothing."""
        fresh = tuple(dict.fromkeys(each for each in files if each.source not in self.known))
        return Reading(engine=self.engine if fresh or self.engine == "native" else "cloudflare-ai", fresh=fresh)


def choose_engine(
    option: PdfOption, *, model_reads_files: bool, files: Sequence[Media], before: Mapping[str, Sequence[ReadBefore]]
) -> EngineChoice:
    """`before`: by source, what was read. Recognition only when asked for, or where a text is known to be missing."""
    seen = {each.source: _by(before, each, "mistral-ocr") for each in files}
    recognised = {source: found for source, found in seen.items() if found}
    if option == "native" or (option == "auto" and model_reads_files and len(recognised) < len(seen)):
        return EngineChoice("native", {})
    if option == "ocr":
        return EngineChoice("mistral-ocr", recognised)
    texts = {each.source: found for each in files if (found := _by(before, each, "cloudflare-ai"))}
    if option == "text":
        return EngineChoice("cloudflare-ai", texts | recognised)
    without = {each.source for each in files if each.has_text is False}
    without |= {source for source, found in texts.items() if not text_of(found.annotation)}
    known = {source: found for source, found in texts.items() if source not in without} | recognised
    return EngineChoice("mistral-ocr" if without - set(recognised) else "cloudflare-ai", known)


def _by(before: Mapping[str, Sequence[ReadBefore]], file: Media, engine: PdfEngine) -> ReadBefore | None:
    return next((each for each in before.get(file.source, ()) if each.engine == engine), None)


def file_parser(engine: PdfEngine) -> dict[str, Any]:
    """The plugin that names the engine: left to itself OpenRouter recognises pages at a price, whatever they hold."""
    return {"id": "file-parser", "pdf": {"engine": engine}}


def match_files(files: Sequence[Media], annotations: Iterable[Wire]) -> list[tuple[Media, Wire]]:
    """What was read of which document: by its hash or name, else, where each has one, by the order.

    Of several with one name all must be told of, and nothing else: whose text it is must not be guessed.
    """
    told: list[Wire] = []
    for annotation in annotations:
        if annotation.get("type") == "file" and annotation not in told:  # a second attempt tells it again
            told.append(annotation)
    left, matched = list(dict.fromkeys(files)), []
    in_order = len(told) == len(left)
    had, told_of = Counter(each.name for each in left), Counter(map(_name_in, told))
    for annotation in told:
        name, digest = _name_in(annotation), as_map(annotation.get("file")).get("hash")
        by_hash = next((each for each in left if each.source == digest), None)
        is_plain = name is not None and had[name] == told_of[name]
        named = by_hash or next((each for each in left if is_plain and each.name == name), None)
        may_follow = in_order and name not in had
        found = named or (left[0] if may_follow and left else None)
        if found is not None:
            left.remove(found)
            matched.append((found, annotation))
    return matched


def _name_in(annotation: Wire) -> str | None:
    return as_text(as_map(annotation.get("file")).get("name"))


def text_of(annotation: Wire) -> str:
    """The text that was found, without the tags around it."""
    parts = as_maps(as_map(annotation.get("file")).get("content"))
    lines = "\n".join(as_text(part.get("text")) or "" for part in parts).splitlines()
    return "\n".join(line for line in lines if not _is_tag(line.strip())).strip()


def kept(annotation: Wire) -> Wire:
    """An annotation as it is stored: without pictures where it would be too long."""
    if len(msgspec.json.encode(annotation)) <= MOST_ANNOTATION_BYTES:
        return annotation
    file = as_map(annotation.get("file"))
    texts = [part for part in as_maps(file.get("content")) if part.get("type") == "text"]
    return {**annotation, "file": {**file, "content": texts}}


def introduced(message: Wire, annotations: Sequence[Wire], sources: Collection[str] | None = None) -> list[Wire]:
    """A question with documents that were read before, as three messages: documents, acknowledgement, question.

    An annotation stands on an assistant message only, and before this one there may be none. Of a planned question only
    the documents from these `sources` are meant.
    """
    content = message.get("content")
    if not annotations or not isinstance(content, list | tuple):
        return [message]
    files = [part for part in content if _is_file(part) and (sources is None or part["media"].source in sources)]
    rest = [part for part in content if part not in files]
    acknowledgement = {"role": "assistant", "content": ACKNOWLEDGED, "annotations": list(annotations)}
    return [{**message, "content": files}, acknowledgement, {**message, "content": rest}]


def with_parsed(messages: Sequence[Wire], annotations: Sequence[Wire]) -> Sequence[Wire]:
    """A prompt whose newest question is asked again after its documents were read in vain."""
    at = next((at for at in range(len(messages) - 1, -1, -1) if messages[at]["role"] == "user"), None)
    if at is None or not _has_files(messages[at]):
        return messages
    return [*messages[:at], *introduced(messages[at], annotations), *messages[at + 1 :]]


def parsing_cost(metadata: bytes | msgspec.Raw) -> Decimal | None:
    """USD that parsing cost, as the `openrouter_metadata` of an answer tells it; None where it does not."""
    if not bytes(metadata):
        return None
    told = as_maps(as_map(read_exact(metadata)).get("pipeline"))
    costs = [as_decimal(each.get("cost_usd")) for each in told if each.get("name") == "file-parser"]
    known = [cost for cost in costs if cost is not None and cost >= 0]
    return sum(known, Decimal(0)) if known else None


def _has_files(message: Wire) -> bool:
    content = message.get("content")
    return isinstance(content, list | tuple) and any(_is_file(part) for part in content)


def _is_file(part: Wire) -> bool:
    return part.get("type") == "file" or ("media" in part and part["media"].kind == "pdf")


def _is_tag(line: str) -> bool:
    return line.startswith(("<file ", "</file", "<file>"))
