"""Bytes cut, joined and packed in unkind ways, and headers that lie."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from openrouter_emulator.faults.fault import Parameters, Stage, also, fault
from openrouter_emulator.http.playback import Piece

Pieces = AsyncIterator[Piece]
Headers = dict[str, str]
GZIP_WINDOW = 31


@fault(
    "byte_at_a_time",
    Stage.PIECES,
    "N bytes a write, so that events and characters are cut anywhere",
    quirks=(5,),
    size=1,
)
async def byte_at_a_time(pieces: Pieces, parameters: Parameters) -> Pieces:
    size = max(1, parameters.count("size"))
    async for piece in pieces:
        for start in range(0, len(piece.content), size):
            is_last = start + size >= len(piece.content)
            yield Piece(piece.content[start : start + size], piece.tokens if is_last else 0)


@fault("split_events", Stage.PIECES, "every write ends in the middle of an event", quirks=(5,), seconds=0.002)
async def split_events(pieces: Pieces, parameters: Parameters) -> Pieces:
    carried = b""
    async for piece in pieces:
        middle = len(piece.content) // 2
        yield Piece(carried + piece.content[:middle], piece.tokens)
        carried = piece.content[middle:]
        await asyncio.sleep(parameters.number("seconds"))
    yield Piece(carried)


@fault("coalesce", Stage.PIECES, "many events travel in one write of at least N bytes", quirks=(5,), size=65_536)
async def coalesce(pieces: Pieces, parameters: Parameters) -> Pieces:
    content, tokens = bytearray(), 0
    async for piece in pieces:
        content += piece.content
        tokens += piece.tokens
        if len(content) >= parameters.count("size"):
            yield Piece(bytes(content), tokens)
            content, tokens = bytearray(), 0
    yield Piece(bytes(content), tokens)


@fault(
    "gzip",
    Stage.PIECES,
    "a gzip body flushed piece by piece; with whitespace_padding, the blanks inside it",
    quirks=(8,),
)
async def gzip(pieces: Pieces, _parameters: Parameters) -> Pieces:
    packer = zlib.compressobj(wbits=GZIP_WINDOW)
    async for piece in pieces:
        yield Piece(packer.compress(piece.content) + packer.flush(zlib.Z_SYNC_FLUSH), piece.tokens)
    yield Piece(packer.flush())


@also("gzip", Stage.HEADERS)
def gzip_header(headers: Headers, _parameters: Parameters) -> Headers:
    return headers | {"Content-Encoding": "gzip"}


@fault("no_generation_id", Stage.HEADERS, "the X-Generation-Id header is missing, as before 2026", quirks=(9,))
def no_generation_id(headers: Headers, _parameters: Parameters) -> Headers:
    return {name: value for name, value in headers.items() if name != "X-Generation-Id"}


@fault("content_type", Stage.HEADERS, "any content type, or none", value="text/plain")
def content_type(headers: Headers, parameters: Parameters) -> Headers:
    kept = {name: value for name, value in headers.items() if name != "Content-Type"}
    return kept | ({"Content-Type": parameters.text("value")} if parameters.has("value") else {})


@also("html_200", Stage.HEADERS)
def html_type(headers: Headers, _parameters: Parameters) -> Headers:
    return headers | {"Content-Type": "text/html; charset=utf-8"}


@also("json_instead_of_stream", Stage.HEADERS)
def json_type(headers: Headers, _parameters: Parameters) -> Headers:
    return headers | {"Content-Type": "application/json"}
