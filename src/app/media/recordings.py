"""Recordings: how long they last."""

import math
from typing import Any, BinaryIO

from tinytag import TinyTag
from tinytag.tinytag import TinyTagException

from app.media.adts import adts_seconds
from app.media.mp4 import is_whole
from app.media.refusals import Refused


def read_recording(file: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """The length in seconds; a file that does not tell it is no recording."""
    if asked["ending"] == "m4a" and not is_whole(file):
        raise Refused("damaged")
    file.seek(0)
    seconds = (
        adts_seconds(file, most=asked["most"]) if asked["ending"] == "aac" else _told_seconds(file, asked["ending"])
    )
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        raise Refused("damaged")
    if seconds > asked["most"]:
        raise Refused("too_large", seconds)
    return {"duration_seconds": round(seconds, 3)}


def _told_seconds(file: BinaryIO, ending: str) -> float | None:
    try:
        return TinyTag.get(filename=f"x.{ending}", file_obj=file, tags=False).duration
    except (TinyTagException, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Refused("damaged") from error
