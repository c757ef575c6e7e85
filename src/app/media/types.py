"""Which types of files are taken, told by their first bytes and never by their names."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import filetype  # type: ignore[import-untyped]

from app.domain.attachment_limits import Kind

HEAD_BYTES = 4096
"""How much of a file's beginning tells its type."""
TAIL_BYTES = 22 + 65_535
"""How far from a file's end a ZIP archive's directory may end."""


@dataclass(frozen=True, slots=True)
class FileType:
    """A type that is taken. ``endings`` are those that names of such files have."""

    kind: Kind
    media_type: str
    title: str
    endings: tuple[str, ...]


_TYPES = {
    "png": FileType(Kind.IMAGE, "image/png", "PNG picture", ("png",)),
    "jpg": FileType(Kind.IMAGE, "image/jpeg", "JPEG picture", ("jpg", "jpeg", "jpe", "jfif")),
    "webp": FileType(Kind.IMAGE, "image/webp", "WebP picture", ("webp",)),
    "gif": FileType(Kind.IMAGE, "image/gif", "GIF picture", ("gif",)),
    "pdf": FileType(Kind.PDF, "application/pdf", "PDF", ("pdf",)),
    "wav": FileType(Kind.AUDIO, "audio/wav", "WAV recording", ("wav", "wave")),
    "mp3": FileType(Kind.AUDIO, "audio/mpeg", "MP3 recording", ("mp3",)),
    "m4a": FileType(Kind.AUDIO, "audio/mp4", "M4A recording", ("m4a", "mp4", "m4b")),
    "ogg": FileType(Kind.AUDIO, "audio/ogg", "Ogg recording", ("ogg", "oga", "opus")),
    "flac": FileType(Kind.AUDIO, "audio/flac", "FLAC recording", ("flac",)),
    "aac": FileType(Kind.AUDIO, "audio/aac", "AAC recording", ("aac",)),
    "aiff": FileType(Kind.AUDIO, "audio/aiff", "AIFF recording", ("aiff", "aif", "aifc")),
}
"""By the name that the library for it gives."""
TAKEN = ", ".join(sorted(each.title.split()[0] for each in _TYPES.values()))
_BY_ENDING = {ending: each for each in _TYPES.values() for ending in each.endings}
_MARKUP = re.compile(rb"<(?:!doctype|html|head|body|script|svg|iframe|\?php)[\s>!]", re.IGNORECASE)
_ARCHIVE_END = b"PK\x05\x06"


def tell_type(head: bytes) -> FileType | None:
    """The type of a file that begins with these bytes; ``None``: it is none that is taken."""
    found = filetype.guess(head)
    return _TYPES.get("aiff" if found and found.extension == "aif" else found.extension) if found else None


def type_by_name(name: str) -> FileType | None:
    """The type that a name claims; ``None`` where it claims none that is taken."""
    return _BY_ENDING.get(PurePosixPath(name).suffix.lower().removeprefix("."))


def is_something_else_too(kind: Kind, head: bytes, tail: bytes) -> bool:
    """Whether other programs would take it for a PDF, a page or an archive: files like that carry things past guards.

    ``head`` and ``tail`` are the first :data:`HEAD_BYTES` and last :data:`TAIL_BYTES`.
    """
    if kind is not Kind.PDF and b"%PDF-" in head[:1024]:
        return True
    if kind is not Kind.PDF and _MARKUP.search(head[:1024]):
        return True
    return _ends_as_archive(tail)


def _ends_as_archive(tail: bytes) -> bool:
    place = tail.rfind(_ARCHIVE_END)
    while place >= 0:
        comment = int.from_bytes(tail[place + 20 : place + 22], "little")
        if len(tail) - place >= 22 and place + 22 + comment == len(tail):
            return True
        place = tail.rfind(_ARCHIVE_END, 0, place)
    return False
