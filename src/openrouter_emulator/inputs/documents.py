"""PDFs in a prompt: how many pages they have, and what their text layer says."""

import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openrouter_emulator.inputs.data_urls import read_data_url, unreadable

TOKENS_PER_PAGE = 1_500
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
_SHOWN = re.compile(rb"\(((?:\\.|[^\\()])*)\)\s*(?:Tj|'|\")|\[((?:\((?:\\.|[^\\()])*\)|[^\]()])*)\]\s*TJ", re.DOTALL)
_INSIDE = re.compile(rb"\(((?:\\.|[^\\()])*)\)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LONGEST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PdfFile:
    """One document: `digest` tells it from others, whatever it is called; `text` is None where nobody can look."""

    name: str
    digest: str
    pages: int
    text: str | None


def read_document(part: Mapping[str, Any]) -> PdfFile:
    """A `file` part, or the 400 it deserves. What lies elsewhere, or was uploaded before, is taken for one page."""
    file = part.get("file")
    file = file if isinstance(file, dict) else {}
    name = str(file.get("filename") or "document.pdf")
    given = file.get("file_data") or file.get("file_id")
    if not isinstance(given, str):
        raise unreadable("'file' needs 'file_data' or 'file_id'.", "invalid_request")
    found = read_data_url(given, error_type="invalid_request") if "file_data" in file else None
    if found is None:
        return PdfFile(name, hashlib.sha256(given.encode()).hexdigest(), 1, None)
    media_type, content = found
    if media_type != "application/pdf" or b"%PDF-" not in content[:1024]:
        raise unreadable(f"The file is not a readable PDF: {media_type}.", "invalid_request")
    pages = max(1, len(_PAGE.findall(content)))
    return PdfFile(name, hashlib.sha256(content).hexdigest(), pages, _text(content))


def document_part_tokens(part: Mapping[str, Any]) -> int:
    """By the page, whoever reads them."""
    return read_document(part).pages * TOKENS_PER_PAGE


def _text(content: bytes) -> str:
    """What is written with the operators that show text, in simple encodings: enough to tell a scan from a text."""
    streams = [_inflated(raw) for raw in _STREAM.findall(content)]
    return "\n".join(line for stream in streams if (line := _shown(stream)))


def _inflated(raw: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(raw, _LONGEST)
    except zlib.error:
        return raw


def _shown(stream: bytes) -> str:
    if b"BT" not in stream:
        return ""
    pieces = [single or b"".join(_INSIDE.findall(several)) for single, several in _SHOWN.findall(stream)]
    return b" ".join(_ESCAPED.sub(rb"\1", piece) for piece in pieces).decode("latin-1").strip()
