"""PDFs: how many pages, and whether they may hold any text."""

import logging
from typing import Any, BinaryIO

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

from app.media.refusals import Refused

MOST_DEPTH, MOST_FORMS = 4, 200
"""How far forms within forms are followed, and how many on one page."""


def read_document(file: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Count the pages by walking to each of them: what the file says of their number is not believed.

    `has_text` is false where no page has a font: nothing can be written there, only drawn, as in a scan.
    """
    logging.disable()
    try:
        reader = PdfReader(file, strict=False)  # which opens what needs no password to be read
        pages, has_text = 0, False
        for page in reader.pages:
            pages += 1
            has_text = has_text or _may_hold_text(page)
            if pages > asked["most"]:
                raise Refused("too_large", _told(reader, pages))
    except (FileNotDecryptedError, DependencyError):  # the latter: ciphers that are not here
        raise Refused("encrypted") from None
    except (PyPdfError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Refused("damaged") from error
    if not pages:
        raise Refused("damaged")
    return {"pages": pages, "has_text": has_text}


def _may_hold_text(page: Any) -> bool:
    try:
        return _may_have_fonts(page.get("/Resources"), MOST_DEPTH)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return True  # nobody can tell: it is no reason to refuse the file


def _may_have_fonts(resources: Any, depth: int) -> bool:
    """Whether a page's resources, or those of forms drawn on it, name a font. In doubt they do."""
    found = resources.get_object() if resources is not None else {}
    if found.get("/Font") or depth == 0:
        return True
    drawn = found.get("/XObject")
    forms = list(drawn.get_object().values()) if drawn is not None else []
    if len(forms) > MOST_FORMS:
        return True
    inner = [each.get_object() for each in forms]
    return any(each.get("/Subtype") == "/Form" and _may_have_fonts(each.get("/Resources"), depth - 1) for each in inner)


def _told(reader: PdfReader, at_least: int) -> int:
    try:
        return max(at_least, len(reader.pages))
    except Exception:  # whatever it is: it has more than are allowed
        return at_least
