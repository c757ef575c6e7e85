"""Documents in a prompt: parsed once for a fee, and handed back as annotations."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.chat.request import ChatRequest, Message

OCR_FEE_PER_PAGE = Decimal("0.002")


def read_files(request: ChatRequest, model: Model) -> tuple[tuple[dict[str, Any], ...], Decimal]:
    """Annotations for the documents that were parsed, and the fee; a model that reads files itself parses none."""
    engine = _engine(request, model)
    if engine == "native":
        return (), Decimal(0)
    files = list(_files(request.messages))
    known = _known_hashes(request.messages)
    fresh = [file for file in files if _hash(file) not in known]
    pages = sum(_pages(file) for file in fresh) if engine == "mistral-ocr" else 0
    return tuple(_annotation(file) for file in files), OCR_FEE_PER_PAGE * pages


def _engine(request: ChatRequest, model: Model) -> str:
    for plugin in request.plugins or ():
        if plugin.get("id") == "file-parser" and plugin.get("enabled", True):
            named = (plugin.get("pdf") or {}).get("engine")
            if named:
                return str({"pdf-text": "cloudflare-ai"}.get(named, named))
    return "native" if "file" in model.input_modalities else "mistral-ocr"


def _files(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    for message in messages:
        for part in message.parts:
            if part.get("type") == "file" and isinstance(part.get("file"), dict):
                yield part["file"]


def _known_hashes(messages: Sequence[Message]) -> set[str]:
    """Of documents whose annotations came back with an earlier answer: they are not parsed again."""
    annotations = (annotation for message in messages for annotation in message.annotations or ())
    return {str(one.get("file", {}).get("hash")) for one in annotations if one.get("type") == "file"}


def _hash(file: dict[str, Any]) -> str:
    return hashlib.sha256(str(file.get("file_data") or file.get("file_id")).encode()).hexdigest()


def _content(file: dict[str, Any]) -> bytes:
    head, _, data = str(file.get("file_data", "")).partition(",")
    if not head.startswith("data:"):
        return b""
    try:
        return base64.b64decode(data, validate=False)
    except ValueError:
        return b""


def _pages(file: dict[str, Any]) -> int:
    """Page objects in the PDF; at least one."""
    content = _content(file)
    return max(1, content.count(b"/Type /Page") + content.count(b"/Type/Page") - content.count(b"/Pages"))


def _annotation(file: dict[str, Any]) -> dict[str, Any]:
    name = str(file.get("filename", "document.pdf"))
    text = f'<file name="{name}">\nSimulated text of {name}, {_pages(file)} page(s).\n</file>'
    return {"type": "file", "file": {"hash": _hash(file), "name": name, "content": [{"type": "text", "text": text}]}}
