"""What is told of a PDF before anybody reads it."""

import io
import logging
from collections.abc import Iterator

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from app.media.documents import read_document
from tests.support.samples import pdf, scan


@pytest.fixture(autouse=True)
def _logs_go_on() -> Iterator[None]:
    """The reader silences its own process; here that is everybody's."""
    yield
    logging.disable(logging.NOTSET)


def found(content: bytes) -> dict[str, object]:
    return read_document(io.BytesIO(content), {"most": 100})


def within_a_form(content: bytes, *, depth: int) -> bytes:
    """The fonts of a PDF moved into forms within forms."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    for page in writer.pages:
        resources = page["/Resources"]
        for _ in range(depth):
            form = StreamObject()
            form.update({NameObject("/Subtype"): NameObject("/Form"), NameObject("/Resources"): resources})
            drawn = DictionaryObject({NameObject("/X"): writer._add_object(form)})
            resources = DictionaryObject({NameObject("/XObject"): drawn})
        page[NameObject("/Resources")] = resources
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_pages_with_a_font_may_hold_text() -> None:
    assert found(pdf("Of patience", "")) == {"pages": 2, "has_text": True}


def test_pages_without_any_font_hold_none() -> None:
    assert found(scan(3)) == {"pages": 3, "has_text": False}


@pytest.mark.parametrize("depth", [1, 3])
def test_fonts_are_found_in_forms(depth: int) -> None:
    assert found(within_a_form(pdf("Of patience"), depth=depth))["has_text"] is True


def test_what_lies_too_deep_may_hold_text() -> None:
    assert found(within_a_form(scan(), depth=30))["has_text"] is True


def test_resources_that_are_none_are_no_reason_to_refuse_a_file() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(scan())))
    writer.pages[0][NameObject("/Resources")] = NameObject("/Nothing")
    file = io.BytesIO()
    writer.write(file)

    assert found(file.getvalue()) == {"pages": 1, "has_text": True}


def test_forms_without_fonts_hold_no_text() -> None:
    assert found(within_a_form(scan(), depth=2))["has_text"] is False
