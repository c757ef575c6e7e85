"""Small files of every kind, made on the spot: real enough for whoever looks at their bytes."""

import base64
import struct
import zlib


def png(width: int = 640, height: int = 480, *, shade: int = 120) -> bytes:
    """A grey picture; another ``shade`` is another file."""
    rows = (b"\x00" + bytes([shade]) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = b"".join(_chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows))))
    return b"\x89PNG\r\n\x1a\n" + body + _chunk(b"IEND", b"")


def wav(seconds: float = 2.0, *, rate: int = 16_000) -> bytes:
    """Silence: 16 bits, mono."""
    data = bytes(int(seconds * rate) * 2)
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        rate * 2,
        2,
        16,
        b"data",
        len(data),
    )
    return header + data


def scan(pages: int = 1) -> bytes:
    """A PDF whose pages are drawn only: without a font nothing is written on them."""
    return pdf(*[""] * pages, fonts=False)


def pdf(*pages: str, fonts: bool = True) -> bytes:
    """A page for each text; on an empty one nothing is written, though there is a font."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for index, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode() if text else b"0 0 612 792 re f"
        looks = f"/MediaBox [0 0 612 792] /Resources << {'/Font << /F1 3 0 R >>' if fonts else ''} >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {looks} /Contents {5 + 2 * index} 0 R >>".encode())
        packed = zlib.compress(drawn)
        objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed))
    content, offsets = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


def data_url(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
