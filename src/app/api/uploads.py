"""A file in a multipart body, read as it comes: nothing of it is kept here."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.core.errors import AppError, InvalidField
from app.core.text import is_storable

FIELD = "file"
SILENCE_SECONDS = 30.0
"""How long a sender may say nothing."""
MAX_NAME = 255
MAX_HEADER_BYTES = 8192
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What leads out of a folder, ends a header, or turns letters around."""


class InvalidMultipart(AppError):
    """The body is no form as RFC 7578 describes it."""

    status_code = 400
    code = "invalid_multipart"


class UploadStalled(AppError):
    """The sender fell silent."""

    status_code = 408
    code = "upload_stalled"


class UploadedFile:
    """The one file of a form: first its :meth:`name`, then its :meth:`chunks`."""

    def __init__(self, request: Request) -> None:
        self._body = aiter(request.stream())
        self._found = _Form()
        self._parser = _parser_for(request.headers.get("content-type", ""), self._found)
        self._has_ended = False

    async def name(self) -> str:
        """What the sender calls it; raises ``InvalidField`` for a name that is none."""
        while self._found.name is None:
            if not await self._read_on():
                raise InvalidField(FIELD, "send one file in this field.")
        return self._found.name

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the file, and then the rest of the form, which holds nothing else."""
        while True:
            for piece in self._found.take():
                yield piece
            if not await self._read_on():
                return

    async def _read_on(self) -> bool:
        """Read some more of the body; false at its end."""
        if self._has_ended:
            return False
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                piece = await anext(self._body, b"")
        except TimeoutError:
            raise UploadStalled(f"Nothing came for {SILENCE_SECONDS:.0f} seconds.") from None
        except ClientDisconnect:
            raise InvalidMultipart("The connection ended before the form did.") from None
        try:
            self._parser.write(piece) if piece else self._end()
        except MultipartParseError as error:
            raise InvalidMultipart("The body is not a well-formed multipart form.") from error
        return not self._has_ended

    def _end(self) -> None:
        self._has_ended = True
        self._parser.finalize()
        if not self._found.is_whole:
            raise InvalidMultipart("The form ends before its last boundary.")


def _parser_for(content_type: str, form: "_Form") -> MultipartParser:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidMultipart("Send a multipart form: Content-Type: multipart/form-data; boundary=...")
    try:
        return MultipartParser(boundary, form.callbacks())
    except FormParserError as error:
        raise InvalidMultipart("The boundary of the form is not usable.") from error


class _Form:
    """What the parser has met so far."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.is_whole = False
        self._pieces: list[bytes] = []
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._header_bytes = 0

    def take(self) -> list[bytes]:
        """The bytes of the file since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def callbacks(self) -> Any:
        """What the parser calls."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._on_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._on_header(1, data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        if self.name is not None:
            raise InvalidField(FIELD, "send one file and nothing else.")
        self._disposition, self._header_bytes = b"", 0

    def _on_header(self, side: int, piece: bytes) -> None:
        self._header_bytes += len(piece)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise InvalidMultipart("The headers of the file are too long.")
        self._header[side].extend(piece)

    def _on_header_end(self) -> None:
        name, value = (bytes(each) for each in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != FIELD:
            raise InvalidField(field if is_storable(field) and field else "body", "is not a field of this form.")
        if b"filename" not in options:
            raise InvalidField(FIELD, "is a file: send it with a filename.")
        self.name = _sane_name(options[b"filename"])

    def _on_end(self) -> None:
        self.is_whole = True


def _sane_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise InvalidField(FIELD, "its name is not UTF-8.") from None
    if not name.strip(". "):
        raise InvalidField(FIELD, "its name is empty.")
    if len(name) > MAX_NAME:
        raise InvalidField(FIELD, f"its name has more than {MAX_NAME} characters.")
    if _NOT_IN_NAMES.search(name) or not is_storable(name):
        raise InvalidField(FIELD, "its name holds a path or characters that cannot be part of a name.")
    return name
