"""The bytes of a file as an answer: whole, a part of it, or only that it has not changed."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.services.blob_keeper import Download

_SHOWN = frozenset({"image/png", "image/jpeg", "image/webp", "audio/wav", "audio/mpeg", "audio/mp4", "audio/ogg"})
_SHOWN |= {"audio/flac", "audio/aac", "audio/aiff"}
"""What a browser shows or plays and never runs. Everything else is saved."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def content_response(content: Download, request: Request) -> Response:
    """The file, or the one range of it that is asked for; nothing of it may be sniffed, framed or run."""
    tag = f'"{content.sha256}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, max-age=31536000, immutable",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": _disposition(content.media_type, content.name),
    }
    if tag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    size = content.size_bytes
    asked = _range(request, size, tag)
    if asked is None:
        return await _part(content, 0, size, 200, headers)
    start, end = asked
    if start >= end:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    return await _part(content, start, end, 206, headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"})


async def _part(content: Download, start: int, end: int, status: int, headers: dict[str, str]) -> Response:
    chunks = content.read(start, end)
    first = await anext(chunks, b"")  # whatever cannot be read is told by a status
    return StreamingResponse(
        _behind(first, chunks),
        status_code=status,
        media_type=content.media_type,
        headers=headers | {"Content-Length": str(end - start)},
    )


async def _behind(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


def _range(request: Request, size: int, tag: str) -> tuple[int, int] | None:
    """From where up to where; ``None`` for all of it, as for several ranges at once and for what is none."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or found[1] == found[2] == "" or request.headers.get("if-range", tag) != tag:
        return None
    first, last = (int(each[:19]) if each else None for each in found.groups())
    if first is None:
        return max(0, size - (last or 0)), size
    return first, size if last is None else min(last + 1, size)


def _tags(header: str) -> list[str]:
    return [each.strip().removeprefix("W/") for each in header.split(",")]


def _disposition(media_type: str, name: str) -> str:
    kind = "inline" if media_type in _SHOWN else "attachment"
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}"
