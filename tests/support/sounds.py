"""Recordings of every type that is taken, silent, made here byte by byte."""

import struct

RATE = 44_100


def mp3(seconds: float) -> bytes:
    """MPEG-1 layer III frames of 128 kbit/s."""
    header = bytes([0xFF, 0xFB, 0x90, 0x64])
    frame = header + bytes(144 * 128_000 // RATE - len(header))
    return frame * round(seconds * RATE / 1152)


def aac(seconds: float) -> bytes:
    """ADTS frames of AAC-LC, mono."""
    length = 7 + 100
    header = bytes([0xFF, 0xF1, 0x50, 0x40 | length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC])
    return (header + bytes(100)) * round(seconds * RATE / 1024)


def m4a(seconds: float) -> bytes:
    """An MP4 with a header, one track and no samples."""
    times = struct.pack(">IIII", 0, 0, 1000, round(seconds * 1000))
    mvhd = _box(b"mvhd", bytes(4) + times + bytes(80))
    mdhd = _box(b"mdhd", bytes(4) + times + bytes(4))
    decoder = b"\x04\x0d\x40\x15" + bytes(3) + struct.pack(">II", 128_000, 128_000)
    esds = _box(b"esds", bytes(4) + b"\x03\x12\x00\x00\x00" + decoder)
    sound = bytes(6) + struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 2, 16, 0, 0, RATE << 16)
    stsd = _box(b"stsd", bytes(4) + struct.pack(">I", 1) + _box(b"mp4a", sound + esds))
    moov = _box(b"moov", mvhd + _box(b"trak", _box(b"mdia", mdhd + _box(b"minf", _box(b"stbl", stsd)))))
    return _box(b"ftyp", b"M4A \x00\x00\x00\x00M4A isom") + moov + _box(b"mdat", bytes(1000))


def flac(seconds: float) -> bytes:
    """A FLAC whose first block tells of it."""
    samples = round(seconds * RATE)
    packed = RATE << 44 | 0 << 41 | 15 << 36 | samples
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + bytes([0x80]) + len(info).to_bytes(3, "big") + info + bytes(1000)


def ogg(seconds: float) -> bytes:
    """Vorbis: its first page, its comments, and a last page that tells where it ends."""
    first = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, RATE, 0, 128_000, 0, 0xB8, 1)
    comments = b"\x03vorbis" + struct.pack("<I", 0) + struct.pack("<I", 0) + b"\x01"
    return _page(0, 2, 0, first) + _page(1, 0, 0, comments) + _page(2, 4, round(seconds * RATE), bytes(200))


def aiff(seconds: float) -> bytes:
    """Sixteen bits, mono."""
    frames = round(seconds * RATE)
    rate = struct.pack(">HQ", 16_383 + 15, RATE << 48)
    comm = b"COMM" + struct.pack(">IHIH", 18, 1, frames, 16) + rate
    data = b"SSND" + struct.pack(">III", 8 + 2 * frames, 0, 0) + bytes(2 * frames)
    return b"FORM" + struct.pack(">I", 4 + len(comm) + len(data)) + b"AIFF" + comm + data


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _page(number: int, flags: int, ends_at: int, content: bytes) -> bytes:
    head = b"OggS" + struct.pack("<BBqIII", 0, flags, ends_at, 1, number, 0)
    return head + bytes([1, len(content)]) + content
