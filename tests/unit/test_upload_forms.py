"""Forms that files come in."""

import pytest
from starlette.requests import Request

from app.api.uploads import InvalidMultipart, UploadedFile


def test_a_boundary_longer_than_any_is_refused() -> None:
    content_type = b"multipart/form-data; boundary=" + b"B" * 5_000
    with pytest.raises(InvalidMultipart):
        UploadedFile(Request({"type": "http", "headers": [(b"content-type", content_type)]}))
