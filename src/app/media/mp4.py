"""MP4 files: whether all of one is there."""

from typing import BinaryIO


def is_whole(file: BinaryIO) -> bool:
    """Whether its outermost boxes follow each other to the end of the file, and one of them describes the rest."""
    length = file.seek(0, 2)
    place, kinds = 0, set()
    while place < length:
        file.seek(place)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:  # a longer number follows
            size = int.from_bytes(head[8:16], "big")
        elif size == 0:  # up to the end
            size = length - place
        if len(head) < 8 or size < 8:
            return False
        kinds.add(kind)
        place += size
    return place == length and b"moov" in kinds
