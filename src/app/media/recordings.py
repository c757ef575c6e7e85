"""Recordings: how long they last."""

import math
from typing import Any, BinaryIO

from tinytag import TinyTag
from tinytag.tinytag import TinyTagException

from app.media.refusals import Refused


def read_recording(file: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """The length in seconds; a file that does not tell it is no recording."""
    try:
        found = TinyTag.get(filename=f"x.{asked['ending']}", file_obj=file, tags=False)
    except (TinyTagException, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Refused("damaged") from error
    seconds = found.duration
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        raise Refused("damaged")
    if seconds > asked["most"]:
        raise Refused("too_large", seconds)
    return {"duration_seconds": round(seconds, 3)}
