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
    return _encrypted("of somebody")


def endless_pdf() -> bytes:
    """A PDF whose tree of pages leads back to itself, and whose page count nobody should believe."""
    kids = b" ".join([b"2 0 R"] * 50)
    return _pdf([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [ " + kids + b" ] /Count 2 >>"])


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


def forms_in_forms(*, levels: int = 3, width: int = 150) -> bytes:
    """A PDF of a few kilobytes with one page, on which forms are drawn, on which forms are drawn: all the same ones.

    Whoever looks at each of them as often as it is drawn is busy for ``width`` to the power of ``levels`` looks.
    """
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    for level in range(levels + 1):
        names = b" ".join(b"/F%d %d 0 R" % (number, level + 4) for number in range(width))
        drawn = b"/Resources << /XObject << " + names + b" >> >>" if level < levels else b""
        if level == 0:
            objects.append(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] " + drawn + b" >>")
        else:
            head = b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length 0 " + drawn + b" >>"
            objects.append(head + b"\nstream\n\nendstream")
    return _pdf(objects)


def restricted_pdf() -> bytes:
    """A page that anybody may read and only its owner may change."""
    return _encrypted("")


def _encrypted(password: str) -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt(password, "of nobody", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def _pdf(objects: list[bytes]) -> bytes:
    content, offsets = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % each for each in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer
