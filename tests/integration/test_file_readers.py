"""Processes that read foreign files: bounded, killed when they take too long, without our secrets."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest

from app.media import inspector as inspector_module
from app.media.inspector import Inspector, ReadersBusy
from app.media.refusals import Refused
from app.media.types import FileType, tell_type
from tests.support.files import forms_in_forms, picture, picture_bomb

pytestmark = pytest.mark.anyio


@contextmanager
def written(inspector: Inspector, content: bytes) -> Iterator[tuple[BinaryIO, FileType]]:
    told = tell_type(content[:4096])
    assert told is not None
    with inspector.temporary_file() as file:
        file.write(content)
        file.flush()
        yield file, told


def readers() -> list[int]:
    """Our children that read files."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            command = (each / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == os.getpid() and b"app.media.reader" in command:
            found.append(int(each.name))
    return found


async def no_reader_is_left() -> None:
    """What was killed is gone when the system has seen to it."""
    with anyio.fail_after(5):
        while readers():  # noqa: ASYNC110  (of the system)
            await anyio.sleep(0.01)


def environments() -> list[bytes]:
    """What they know of the world."""
    return [Path(f"/proc/{each}/environ").read_bytes() for each in readers()]


async def test_a_pdf_that_keeps_its_parser_busy_is_killed_in_mid_parsing(tmp_path: Path) -> None:
    inspector = Inspector(tmp_path, seconds=0.4)  # some 0.1 of it to start
    with written(inspector, forms_in_forms()) as (file, told):
        started = time.monotonic()
        with pytest.raises(Refused) as refused:
            await inspector.inspect(file, told, most=10**9, copies=None)

    assert refused.value.why == "too_complex"
    assert time.monotonic() - started < 8  # by itself it would go on for half a minute
    await no_reader_is_left()


async def test_a_reader_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    inspector = Inspector(tmp_path, seconds=120)  # not for its time
    content = picture_bomb(40_000, 40_000)
    with (
        written(inspector, content) as (file, told),
        inspector.copies(told.kind) as copies,
        pytest.raises(Refused) as refused,
    ):
        await inspector.inspect(file, told, most=10**10, copies=copies)

    assert refused.value.why == "too_complex"


async def test_whoever_leaves_takes_the_reader_along(tmp_path: Path) -> None:
    inspector = Inspector(tmp_path)
    with written(inspector, forms_in_forms()) as (file, told):
        with anyio.move_on_after(0.3) as scope:
            await inspector.inspect(file, told, most=10**9, copies=None)
        assert scope.cancelled_caught
        await no_reader_is_left()
        with written(inspector, picture()) as (other, image), inspector.copies(image.kind) as copies:
            assert (await inspector.inspect(other, image, most=10**6, copies=copies)).width == 64  # its turn is free


async def test_only_so_many_are_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspector_module, "WAIT_SECONDS", 0.05)
    inspector = Inspector(tmp_path, at_once=1)
    with written(inspector, forms_in_forms()) as (file, told):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, inspector, file, told)
            await anyio.sleep(0.1)
            with pytest.raises(ReadersBusy):
                await inspector.inspect(file, told, most=10**9, copies=None)
            tasks.cancel_scope.cancel()


async def _read(inspector: Inspector, file: BinaryIO, told: FileType) -> None:
    await inspector.inspect(file, told, most=10**9, copies=None)


async def test_a_reader_knows_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-of-nobody")
    inspector = Inspector(tmp_path)
    seen: list[bytes] = []
    with written(inspector, forms_in_forms()) as (file, told):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, inspector, file, told)
            await anyio.sleep(0.3)  # it is at work for longer
            seen += environments()
            tasks.cancel_scope.cancel()

    assert seen
    assert b"sk-or-v1-of-nobody" not in b"".join(seen)
