"""The process that reads one foreign file: `python -m app.media.reader`, with the file as its standard input.

It knows no secret, may use so much time and memory and no more, and is killed when it takes too long. What it found, or
why it refuses, is one line of JSON on standard output; the copies of a picture go to the descriptors it is given.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from app.media.refusals import Refused

MEMORY_BYTES = 1_500_000_000
CPU_SECONDS = 30


def main() -> None:
    """Read what the arguments name, as a child does."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    os.nice(10)  # people's answers first
    found: dict[str, Any]
    try:
        with os.fdopen(0, "rb", closefd=False) as file:
            file.seek(0)
            found = _reader_of(asked["kind"])(file, asked)
    except Refused as refused:
        found = {"refused": refused.why, "measured": refused.measured}
    except (MemoryError, RecursionError):
        found = {"refused": "too_complex"}
    except Exception as error:  # whatever a library raises over a foreign file
        found = {"refused": "damaged", "kind": type(error).__name__}
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # nothing is left to tidy up, whatever a library thinks


def _reader_of(kind: str) -> Callable[[BinaryIO, dict[str, Any]], dict[str, Any]]:
    # Each library is imported by the process that needs it.
    if kind == "image":
        from app.media.pictures import read_picture

        return read_picture
    if kind == "drawn":
        from app.media.pictures import read_drawn

        return read_drawn
    if kind == "pdf":
        from app.media.documents import read_document

        return read_document
    from app.media.recordings import read_recording

    return read_recording


if __name__ == "__main__":
    sys.path[:] = [each for each in sys.path if each not in ("", str(Path.cwd()))]
    main()
