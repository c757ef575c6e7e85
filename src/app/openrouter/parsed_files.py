"""Documents read by OpenRouter's parser: which engine reads them, what was read, and how it is sent back.

What was read comes with the answer as annotations. A prompt in which an assistant message bears them again is not
parsed, nor charged for parsing, a second time.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from app.openrouter.media import Media
from app.openrouter.reading import as_decimal, as_map, as_maps, as_text, read_exact

PdfEngine = Literal["native", "cloudflare-ai", "mistral-ocr"]
"""`native`: the model itself reads the file, as input tokens. `cloudflare-ai`: the text it holds, for nothing.
`mistral-ocr`: what can be seen on its pages, at a price a page."""

OCR_USD_PER_PAGE = Decimal("0.002")
ACKNOWLEDGED = "I have read it."
"""What an assistant says between a document that was read before and the question about it. It never changes: prompts
are found in a cache by every letter."""
MOST_ANNOTATION_BYTES = 4_000_000
"""Of one document: what is longer is kept without the pictures that were found in it."""

Wire = Mapping[str, Any]


def file_parser(engine: PdfEngine) -> dict[str, Any]:
    """The plugin that names the engine: left to itself OpenRouter recognises pages at a price, whatever they hold."""
    return {"id": "file-parser", "pdf": {"engine": engine}}


def match_files(files: Sequence[Media], annotations: Iterable[Wire]) -> list[tuple[Media, Wire]]:
    """What was read of which document: by its name, else, where each has one, by the order."""
    told = [each for each in annotations if each.get("type") == "file"]
    left, matched = list(dict.fromkeys(files)), []
    in_order = len(told) == len(left)
    for annotation in told:
        name = as_text(as_map(annotation.get("file")).get("name"))
        named = next((each for each in left if each.name == name), None)
        found = named or (left[0] if in_order and left else None)
        if found is not None:
            left.remove(found)
            matched.append((found, annotation))
    return matched


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


def introduced(message: Wire, annotations: Sequence[Wire]) -> list[Wire]:
    """A question with documents that were read before, as three messages: documents, acknowledgement, question.

    An annotation stands on an assistant message only, and before this one there may be none.
    """
    content = message.get("content")
    if not annotations or not isinstance(content, list | tuple):
        return [message]
    files = [part for part in content if _is_file(part)]
    rest = [part for part in content if not _is_file(part)]
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
