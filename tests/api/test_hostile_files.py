"""Files that are not what they seem: refused with a code of their own, soon, and nothing of them is kept."""

import asyncio
import struct
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from app.db.models import Attachment, Blob, BlobChunk, UsageEvent
from app.domain.plans import PlanTier
from app.services.attachment_service import UPLOADS_AT_ONCE
from tests.conftest import Join, Serve
from tests.support import sounds
from tests.support.accounts import Person
from tests.support.files import encrypted_pdf, endless_pdf, picture, picture_bomb, zip_archive
from tests.support.samples import pdf, wav
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

ATTACHMENTS = "/api/v1/attachments"
TINY_PNG = picture(size=(8, 8))


def wav_that_says(seconds: int) -> bytes:
    """A header that promises so much, and nothing behind it."""
    rate = 8_000
    size = seconds * rate
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, rate, 1, 8, b"data", size
    )


HOSTILE: dict[str, tuple[str, bytes, int, str]] = {
    "nothing": ("a.png", b"", 422, "file_empty"),
    "a page named like a picture": ("a.png", b"<html><script>alert(1)</script></html>", 415, "unsupported_file_type"),
    "an SVG": ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "unsupported_file_type"),
    "an archive named like a picture": ("a.png", zip_archive(), 415, "unsupported_file_type"),
    "a program": ("a.pdf", b"\x7fELF" + bytes(500), 415, "unsupported_file_type"),
    "a PDF named like a picture": ("a.png", pdf("x"), 415, "file_type_mismatch"),
    "a picture named like a recording": ("a.mp3", TINY_PNG, 415, "file_type_mismatch"),
    "a picture cut off": ("a.png", picture(size=(300, 300))[:-200], 422, "file_damaged"),
    "a JPEG cut off": ("a.jpg", picture(size=(300, 300), container="JPEG")[:1500], 422, "file_damaged"),
    "a WebP cut off": ("a.webp", picture(size=(300, 300), container="WEBP")[:200], 422, "file_damaged"),
    "a GIF cut off": ("a.gif", picture(size=(300, 300), container="GIF")[:500], 422, "file_damaged"),
    "the beginning of a PNG": ("a.png", TINY_PNG[:20], 422, "file_damaged"),
    "a bomb": ("a.png", picture_bomb(30_000, 30_000), 413, "file_too_large"),
    "a picture and an archive": ("a.png", TINY_PNG + zip_archive(), 422, "file_ambiguous"),
    "a picture and a PDF": ("a.png", TINY_PNG + pdf("x"), 422, "file_ambiguous"),
    "a picture and a page": (
        "a.gif",
        picture(container="GIF", comment=b"<script>alert(1)</script>"),
        422,
        "file_ambiguous",
    ),
    "a PDF and an archive": ("a.pdf", pdf("x") + zip_archive(), 422, "file_ambiguous"),
    "a PDF behind a password": ("a.pdf", encrypted_pdf(), 422, "file_encrypted"),
    "a PDF cut off": ("a.pdf", pdf("x")[:60], 422, "file_damaged"),
    "a PDF without pages": ("a.pdf", pdf(), 422, "file_damaged"),
    "a PDF that runs in circles": ("a.pdf", endless_pdf(), 422, "file_damaged"),
    "a recording of nothing": ("a.wav", wav(0.0), 422, "file_damaged"),
    "an AAC recording cut off": ("a.aac", sounds.aac(1.0)[:-3], 422, "file_damaged"),
    "noise that begins like AAC": ("a.aac", sounds.aac(1.0) + bytes(50), 422, "file_damaged"),
    "an M4A recording cut off": ("a.m4a", sounds.m4a(1.0)[:-100], 422, "file_damaged"),
    "the beginning of a recording": ("a.flac", b"fLaC\x00\x00\x00\x22" + bytes(10), 422, "file_damaged"),
    "a recording that says it lasts a day": ("a.wav", wav_that_says(86_400), 413, "file_too_large"),
}


async def count_kept(app: ServedApp, person: Person) -> dict[str, int]:
    """Rows of the account's files, and of what it was charged for."""
    async with app.services.database.read_only() as uow:
        return {
            table.__tablename__: (
                await uow._session.execute(select(func.count()).where(table.user_id == person.user_id))
            ).scalar_one()
            for table in (Attachment, Blob, BlobChunk, UsageEvent)
        }


@pytest.mark.parametrize("what", list(HOSTILE))
async def test_it_is_refused_soon_and_leaves_nothing(app: ServedApp, join_app: Join, what: str) -> None:
    name, content, status, code = HOSTILE[what]
    person = await join_app(app, plan=PlanTier.PREMIUM)
    started = time.monotonic()

    answer = await person.http.post(ATTACHMENTS, files={"file": (name, content)})

    assert (answer.status_code, answer.json().get("error")) == (status, code), answer.text
    assert time.monotonic() - started < 10
    assert set((await count_kept(app, person)).values()) == {0}
    assert list(app.services.settings.upload_folder.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "a/b.png", "a\\b.png", "..", " ", "a\nb.png", "gnp.\u202eexe.png", "x" * 256, "a\0b.png"],
)
async def test_a_name_that_is_a_path_or_plays_tricks_is_refused(app: ServedApp, person: Person, name: str) -> None:
    boundary = "edge"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + TINY_PNG
        + f"\r\n--{boundary}--\r\n".encode()
    )

    answer = await person.http.post(
        ATTACHMENTS, content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )

    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"] in ("validation_error", "invalid_multipart")
    assert set((await count_kept(app, person)).values()) == {0}


FORMS: dict[str, dict[str, Any]] = {
    "no form": {"content": TINY_PNG, "headers": {"Content-Type": "image/png"}},
    "JSON": {"json": {"file": "x"}},
    "no boundary": {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    "not a form after all": {"content": b"x" * 100, "headers": {"Content-Type": "multipart/form-data; boundary=edge"}},
    "cut off": {
        "content": b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + TINY_PNG,
        "headers": {"Content-Type": "multipart/form-data; boundary=edge"},
    },
    "endless headers": {
        "content": b"--edge\r\nX-Long: " + b"x" * 100_000,
        "headers": {"Content-Type": "multipart/form-data; boundary=edge"},
    },
    "another field": {"files": {"picture": ("a.png", TINY_PNG)}},
    "two files": {"files": [("file", ("a.png", TINY_PNG)), ("file", ("b.png", TINY_PNG))]},
    "a field beside the file": {"files": {"file": ("a.png", TINY_PNG)}, "data": {"purpose": "x"}},
    "text in place of a file": {"files": {"file": (None, "text")}},
    "empty": {"content": b"--edge--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=edge"}},
}


@pytest.mark.parametrize("form", list(FORMS))
async def test_another_form_is_refused_and_leaves_nothing(app: ServedApp, person: Person, form: str) -> None:
    answer = await person.http.post(ATTACHMENTS, **FORMS[form])

    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"] in ("validation_error", "invalid_multipart")
    assert set((await count_kept(app, person)).values()) == {0}


async def test_a_connection_that_breaks_off_leaves_nothing(app: ServedApp, person: Person) -> None:
    async def half() -> Any:
        yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + TINY_PNG
        raise ConnectionResetError

    with pytest.raises((httpx2.HTTPError, ConnectionResetError)):
        await person.http.post(
            ATTACHMENTS, content=half(), headers={"Content-Type": "multipart/form-data; boundary=edge"}
        )
    assert set((await count_kept(app, person)).values()) == {0}


async def test_what_is_too_long_is_broken_off_before_its_end(app: ServedApp, person: Person) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + TINY_PNG
        while sent < 80_000_000:
            sent += 100_000
            yield bytes(100_000)

    answer = await person.http.post(
        ATTACHMENTS, content=endless(), headers={"Content-Type": "multipart/form-data; boundary=edge"}
    )

    assert (answer.status_code, answer.json().get("error"), answer.json()["limit"]) == (
        413,
        "file_too_large",
        5_000_000,
    )
    assert answer.json()["available_in"] == "premium"
    assert set((await count_kept(app, person)).values()) == {0}


async def test_a_file_that_takes_too_long_to_read_is_killed(serve_app: Serve, join_app: Join) -> None:
    app = await serve_app()
    app.services.attachments._inspector_now._seconds = 0.01
    person = await join_app(app)

    answer = await person.http.post(ATTACHMENTS, files={"file": ("a.png", TINY_PNG)})

    assert (answer.status_code, answer.json().get("error")) == (422, "file_too_complex")
    assert set((await count_kept(app, person)).values()) == {0}


async def test_an_account_sends_so_many_at_the_same_time_and_no_more(app: ServedApp, person: Person) -> None:
    go_on = asyncio.Event()

    async def slow() -> Any:
        yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + TINY_PNG
        await go_on.wait()
        yield b"\r\n--edge--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    on_their_way = [
        asyncio.create_task(person.http.post(ATTACHMENTS, content=slow(), headers=headers))
        for _ in range(UPLOADS_AT_ONCE)
    ]
    while app.services.attachments._uploading[person.user_id] < UPLOADS_AT_ONCE:  # noqa: ASYNC110  (of the server)
        await asyncio.sleep(0.01)
    refused = await person.http.post(ATTACHMENTS, files={"file": ("a.png", TINY_PNG)})
    go_on.set()
    answers = await asyncio.gather(*on_their_way)

    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_uploads")
    assert [each.status_code for each in answers] == [201] * UPLOADS_AT_ONCE
    assert (await person.http.post(ATTACHMENTS, files={"file": ("a.png", TINY_PNG)})).status_code == 201


async def test_a_disk_that_takes_no_more_is_told(serve_app: Serve, join_app: Join, tmp_path: Path) -> None:
    app = await serve_app()
    person = await join_app(app)
    (tmp_path / "uploads").write_bytes(b"where the folder should be")

    answer = await person.http.post(ATTACHMENTS, files={"file": ("a.png", TINY_PNG)})

    assert (answer.status_code, answer.json()["error"]) == (503, "storage_unavailable")
