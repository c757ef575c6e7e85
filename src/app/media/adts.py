"""AAC in ADTS frames: how long it lasts, which no library here tells."""

from typing import BinaryIO

from app.media.refusals import Refused

_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_HEADER_BYTES = 7
_SAMPLES = 1024


def adts_seconds(file: BinaryIO, *, most: float) -> float:
    """Walk from frame to frame, to the end or past ``most``; raises :class:`Refused` where none follows the other."""
    file.seek(_tag_bytes(file))
    seconds, header = 0.0, file.read(_HEADER_BYTES)
    while len(header) == _HEADER_BYTES and seconds <= most:
        rate = header[2] >> 2 & 15
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        if header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or rate >= len(_RATES) or length < _HEADER_BYTES:
            raise Refused("damaged")
        if len(file.read(length - _HEADER_BYTES)) < length - _HEADER_BYTES:
            raise Refused("damaged")
        seconds += _SAMPLES * (1 + (header[6] & 3)) / _RATES[rate]
        header = file.read(_HEADER_BYTES)
    return seconds


def _tag_bytes(file: BinaryIO) -> int:
    """How long the ID3 tag is that may stand in front."""
    file.seek(0)
    head = file.read(10)
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum((each & 0x7F) << 7 * (3 - place) for place, each in enumerate(head[6:10]))
