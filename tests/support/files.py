"""Files to send, honest and hostile, made here byte by byte."""

import io
import math
import struct
import wave
import zipfile
import zlib

from PIL import Image
from pypdf import PdfWriter


def picture(*, size: tuple[int, int] = (64, 48), container: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    """A picture whose colours run from corner to corner."""
    grey = Image.linear_gradient("L").resize(size)
    made = grey.convert(mode) if mode != "RGB" else Image.merge("RGB", (grey, grey.rotate(90).resize(size), grey))
    file = io.BytesIO()
    made.save(file, format=container, **options)
    return file.getvalue()


def picture_bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that says it is so wide and high, all black."""
    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(b"\0" * (1 + width // 8 + 1)) for _ in range(height)) + packed.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        + _chunk(b"IDAT", rows)
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encrypted_pdf() -> bytes:
    """A page behind a password."""
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("of nobody", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def endless_pdf() -> bytes:
    """A PDF whose tree of pages leads back to itself, and whose page count nobody should believe."""
    content = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
    offsets = [9, len(content)]
    kids = b" ".join([b"2 0 R"] * 50)
    content += b"2 0 obj\n<< /Type /Pages /Kids [ " + kids + b" ] /Count 2 >>\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % each for each in offsets)
    trailer = b"trailer\n<< /Size 3 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(content)
    return content + b"xref\n0 3\n0000000000 65535 f \n" + table + trailer


def zip_archive() -> bytes:
    """An archive with one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("run.sh", "echo run")
    return file.getvalue()


def recording(*, seconds: float = 1.0, rate: int = 8_000) -> bytes:
    """A WAV with a tone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(rate)
        count = int(seconds * rate)
        tone = bytes(int(128 + 100 * math.sin(index / 5)) for index in range(min(count, rate)))
        for start in range(0, count, rate):
            out.writeframesraw(tone[: min(rate, count - start)])
    return file.getvalue()


def tree_of_pages(*, levels: int, width: int = 10) -> bytes:
    """A small PDF with ``width`` to the power of ``levels`` pages, all the same: counting them takes long."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    for level in range(levels):
        kids = b" ".join([b"%d 0 R" % (level + 3)] * width)
        objects.append(b"<< /Type /Pages /Kids [" + kids + b"] /Count %d >>" % width ** (levels - level))
    objects.append(b"<< /Type /Page /MediaBox [0 0 9 9] >>")
    content, offsets = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % each for each in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer
