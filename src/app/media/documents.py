"""PDFs: how many pages."""

import logging
from typing import Any, BinaryIO

from pypdf import PdfReader
from pypdf.errors import FileNotDecryptedError, PyPdfError

from app.media.refusals import Refused


def read_document(file: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Count the pages by walking to each of them: what the file says of their number is not believed."""
    logging.disable()
    try:
        reader = PdfReader(file, strict=False)
        if reader.is_encrypted:
            raise Refused("encrypted")
        pages = 0
        for _ in reader.pages:
            pages += 1
            if pages > asked["most"]:
                raise Refused("too_large", _told(reader, pages))
    except FileNotDecryptedError:
        raise Refused("encrypted") from None
    except (PyPdfError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Refused("damaged") from error
    if not pages:
        raise Refused("damaged")
    return {"pages": pages}


def _told(reader: PdfReader, at_least: int) -> int:
    try:
        return max(at_least, len(reader.pages))
    except Exception:  # whatever it is: it has more than are allowed
        return at_least
