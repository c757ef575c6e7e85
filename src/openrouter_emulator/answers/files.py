"""Documents in a prompt: parsed once for a fee, and handed back as annotations."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.catalogue.pricing import ZERO, rounded
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.inputs.documents import PdfFile, read_document
from openrouter_emulator.inputs.parts import count_of_kind

OCR_FEE_PER_PAGE = Decimal("0.002")
ENGINES = {"native": "native", "mistral-ocr": "mistral-ocr", "cloudflare-ai": "cloudflare-ai"}
ENGINES["pdf-text"] = "cloudflare-ai"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""What recognition finds of every picture in a document."""


@dataclass(frozen=True, slots=True)
class Parsing:
    """What was done with the documents of one request; `fresh` were parsed now, for `fee`, `known` had been before."""

    engine: str
    fresh: tuple[PdfFile, ...] = ()
    known: tuple[PdfFile, ...] = ()
    fee: Decimal = ZERO
    native_tokens: int = 0
    """Prompt tokens of documents that the model reads itself."""

    @property
    def annotations(self) -> tuple[dict[str, Any], ...]:
        """One for each document that was parsed now."""
        return tuple(_annotation(file, self.engine) for file in self.fresh)

    @property
    def pipeline(self) -> list[dict[str, Any]]:
        """As `openrouter_metadata` tells it."""
        if not self.fresh:
            return []
        summary = f"Parsed {len(self.fresh)} file(s) with {self.engine}"
        return [{"type": "plugin", "name": "file-parser", "summary": summary, "cost_usd": rounded(self.fee)}]

    def rows(self) -> Iterator[dict[str, Any]]:
        """What became of each document."""
        for file in (*self.fresh, *self.known):
            is_billed = file in self.fresh and self.engine == "mistral-ocr"
            yield {
                "hash": file.digest,
                "filename": file.name,
                "pages": file.pages,
                "engine": self.engine,
                "parsed": file in self.fresh,
                "fee": format(OCR_FEE_PER_PAGE * file.pages if is_billed else ZERO, "f"),
            }


def read_files(request: ChatRequest, model: Model) -> Parsing:
    """Parse what no earlier answer brought back; a model that reads files itself parses none."""
    files = list(dict.fromkeys(read_document(part) for part in _file_parts(request)))
    engine = named_engine(request) or ("native" if "file" in model.input_modalities else "mistral-ocr")
    if not files or engine == "native":
        return Parsing(engine, native_tokens=count_of_kind(_file_parts(request), "file"))
    hashes = {str(file.get("hash")) for message in request.messages for file in message.annotated_files}
    fresh = tuple(file for file in files if file.digest not in hashes)
    pages = sum(file.pages for file in fresh) if engine == "mistral-ocr" else 0
    known = tuple(file for file in files if file.digest in hashes)
    return Parsing(engine, fresh, known, OCR_FEE_PER_PAGE * pages)


def named_engine(request: ChatRequest) -> str | None:
    """What the plugin asks for; None leaves it to OpenRouter."""
    for plugin in request.plugins or ():
        if plugin.get("id") == "file-parser" and plugin.get("enabled", True):
            named = (plugin.get("pdf") or {}).get("engine")
            if named is not None and named not in ENGINES:
                raise ApiError(400, f"Invalid PDF engine: {named}")
            return ENGINES[named] if named else None
    return None


def has_files(request: ChatRequest) -> bool:
    return any(True for _ in _file_parts(request))


def _file_parts(request: ChatRequest) -> Iterator[dict[str, Any]]:
    for message in request.messages:
        yield from (part for part in message.parts if part.get("type") == "file")


def _annotation(file: PdfFile, engine: str) -> dict[str, Any]:
    """Recognition reads everything and keeps a picture; the free engine finds what the text layer says, or nothing."""
    parts: list[dict[str, Any]] = []
    if engine == "mistral-ocr":
        text = file.text or f"Simulated text of {file.name}, {file.pages} page(s)."
        parts = [_text_part(file, text), {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
    elif file.text is None:
        parts = [_text_part(file, f"Simulated text of {file.name}.")]
    elif file.text:
        parts = [_text_part(file, file.text)]
    return {"type": "file", "file": {"hash": file.digest, "name": file.name, "content": parts}}


def _text_part(file: PdfFile, text: str) -> dict[str, str]:
    return {"type": "text", "text": f'<file name="{file.name}">\n{text}\n</file>'}
