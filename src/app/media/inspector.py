"""Lets processes that can be killed read foreign files, so many at a time."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import anyio

from app.domain.attachment_limits import Kind
from app.media.refusals import Refused
from app.media.types import FileType

TIME_LIMIT_SECONDS = 20.0
WAIT_SECONDS = 30.0
"""How long a file waits for its turn to be read."""
_SOURCES = str(Path(__file__).resolve().parents[2])


class ReadersBusy(Exception):
    """Too many files are being read; waiting helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a file is: its measures, and of a picture the copies that take its place."""

    media_type: str
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    has_text: bool | None = None
    duration_seconds: float | None = None
    kept: BinaryIO | None = None
    model: BinaryIO | None = None


class Inspector:
    """Starts a process for each file. What it may take is bounded by time, memory and processor."""

    def __init__(self, folder: Path, *, at_once: int | None = None, seconds: float = TIME_LIMIT_SECONDS) -> None:
        self._folder = folder
        self._turn = asyncio.Semaphore(at_once or max(1, (os.cpu_count() or 2) // 2))
        self._seconds = seconds

    @contextmanager
    def temporary_file(self) -> Iterator[BinaryIO]:
        """A file without a name: it is gone when it is closed, or when this process ends, however it ends."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            yield file

    @contextmanager
    def copies(self, kind: Kind) -> Iterator[tuple[BinaryIO, BinaryIO] | None]:
        """Where the copies of a picture are written."""
        if kind is not Kind.IMAGE:
            yield None
            return
        with self.temporary_file() as kept, self.temporary_file() as model:
            yield kept, model

    async def inspect(
        self, file: BinaryIO, told: FileType, *, most: int, copies: tuple[BinaryIO, BinaryIO] | None
    ) -> Findings:
        """Read ``file``; raises :class:`Refused`. ``most`` are the pixels, pages or seconds it may have.

        A process that takes too long, or dies, has met a file that is ``too_complex``.
        """
        asked: dict[str, Any] = {"kind": told.kind.value, "most": most, "ending": told.endings[0]}
        descriptors = [each.fileno() for each in copies or ()]
        asked |= dict(zip(("kept", "model"), descriptors, strict=False))
        found = await self._read(file, asked, descriptors)
        if "refused" in found:
            raise Refused(found["refused"], found.get("measured"))
        kept, model = copies or (None, None)
        return Findings(**{"media_type": told.media_type, **found}, kept=kept, model=model)

    async def inspect_drawn(self, file: BinaryIO, *, most: int, thumbnail: BinaryIO) -> Findings:
        """Look at a picture that a model drew, of at most ``most`` pixels, as :meth:`inspect` does.

        A small one is written to ``thumbnail``.
        """
        descriptor = thumbnail.fileno()
        found = await self._read(file, {"kind": "drawn", "most": most, "thumbnail": descriptor}, [descriptor])
        if "refused" in found:
            raise Refused(found["refused"], found.get("measured"))
        return Findings(**found)

    async def _read(self, file: BinaryIO, asked: Mapping[str, Any], descriptors: list[int]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise ReadersBusy from None
        try:
            return await self._in_process(file, asked, descriptors)
        finally:
            self._turn.release()

    async def _in_process(self, file: BinaryIO, asked: Mapping[str, Any], descriptors: list[int]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.media.reader",
            json.dumps(asked),
            stdin=file,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=descriptors,
            env={"PYTHONPATH": _SOURCES},  # and none of ours: there are secrets in it
            cwd=self._folder,
        )
        try:
            async with asyncio.timeout(self._seconds):
                output, _ = await process.communicate()
        except TimeoutError:
            return {"refused": "too_complex"}
        finally:
            await _end(process)
        if process.returncode != 0:
            return {"refused": "too_complex"}
        found: dict[str, Any] = json.loads(output)
        return found


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):  # whoever is cancelled waits for the killed one, too
            await process.wait()
