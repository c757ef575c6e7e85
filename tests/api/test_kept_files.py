"""What is kept of files that people send, where, and how long."""

import hashlib
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image
from sqlalchemy import delete, func, select

from app.db.models import Attachment, Blob, BlobChunk, User
from app.domain.attachment_limits import ATTACHMENT_LIMITS
from app.domain.plans import PlanTier
from app.media.pictures import MODEL_EDGE
from app.openrouter.media import AUDIO_FORMATS
from tests.conftest import Join, Serve
from tests.support import sounds
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.files import picture, restricted_pdf
from tests.support.s3 import KEY, SECRET, S3Server
from tests.support.samples import pdf, wav
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

ATTACHMENTS = "/api/v1/attachments"


async def send(person: Person, name: str = "mosque.png", content: bytes | None = None) -> dict[str, Any]:
    answer = await person.http.post(ATTACHMENTS, files={"file": (name, picture() if content is None else content)})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def content_of(person: Person, attachment: dict[str, Any]) -> bytes:
    answer = await person.http.get(f"{ATTACHMENTS}/{attachment['id']}/content")
    assert answer.status_code == 200, answer.text
    return answer.content


async def blobs_of(app: ServedApp, person: Person) -> list[Blob]:
    async with app.services.database.read_only() as uow:
        return list(await uow._session.scalars(select(Blob).where(Blob.user_id == person.user_id).order_by(Blob.id)))


async def count_chunks(app: ServedApp, person: Person) -> int:
    async with app.services.database.read_only() as uow:
        query = select(func.count()).where(BlobChunk.user_id == person.user_id)
        return (await uow._session.execute(query)).scalar_one()


class TestPictures:
    async def test_nothing_is_left_of_camera_place_or_comment(self, person: Person) -> None:
        exif = Image.Exif()
        exif[0x010F] = "SecretCamera"
        exif.get_ifd(0x8825)[1] = "N"
        sent = picture(container="JPEG", exif=exif.tobytes(), comment=b"SecretWords")
        assert b"SecretCamera" in sent

        kept = await content_of(person, await send(person, "a.jpg", sent))

        assert b"Secret" not in kept
        assert not Image.open(io.BytesIO(kept)).getexif()

    async def test_it_is_turned_upright(self, person: Person) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
        sent = await send(person, "a.jpg", picture(size=(64, 32), container="JPEG", exif=exif.tobytes()))

        assert (sent["width"], sent["height"]) == (32, 64)
        assert Image.open(io.BytesIO(await content_of(person, sent))).size == (32, 64)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
    async def test_pictures_of_every_kind_of_pixels_are_taken(self, person: Person, mode: str) -> None:
        container = "JPEG" if mode == "CMYK" else "PNG"
        grey = Image.linear_gradient("L").resize((20, 10))
        made = Image.new("I;16", (20, 10), 40_000) if mode == "I;16" else grey.convert("RGB").convert(mode)
        file = io.BytesIO()
        made.save(file, format=container)

        kept = Image.open(io.BytesIO(await content_of(person, await send(person, "a", file.getvalue()))))

        assert kept.size == (20, 10)
        if mode == "I;16":
            assert abs(kept.getpixel((3, 3)) - 40_000 // 257) <= 1  # type: ignore[operator]  # one grey

    async def test_models_get_a_smaller_copy_that_is_the_same_each_time(self, app: ServedApp, person: Person) -> None:
        large = picture(size=(3000, 1000), mode="RGBA")
        first = await send(person, "a.png", large)
        await person.http.delete(f"{ATTACHMENTS}/{first['id']}")
        await app.services.file_collector.run_once()
        second = await send(person, "b.png", large)

        assert second["sha256"] == first["sha256"]
        async with app.services.database.read_only() as uow:
            row = await uow.attachments.require(person.user_id, UUID(second["id"]))
        assert row.model_blob_id is not None
        copy = await app.services.blobs.read_whole(person.user_id, row.model_blob_id, at_most=10_000_000)
        assert hashlib.sha256(copy).hexdigest() == row.model_sha256
        opened = Image.open(io.BytesIO(copy))
        assert (opened.format, opened.width) == ("JPEG", MODEL_EDGE)

    async def test_a_jpeg_with_several_pictures_stays_a_jpeg(self, person: Person) -> None:
        second = Image.new("RGB", (20, 20), "red")
        sent = picture(container="MPO", save_all=True, append_images=[second])

        assert (await send(person, "a.jpg", sent))["media_type"] == "image/jpeg"

    async def test_a_moving_picture_stands_still(self, person: Person) -> None:
        frames = [Image.new("P", (20, 20), colour) for colour in (1, 2, 3)]
        file = io.BytesIO()
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:])

        sent = await send(person, "a.gif", file.getvalue())

        assert sent["media_type"] == "image/png"
        assert getattr(Image.open(io.BytesIO(await content_of(person, sent))), "n_frames", 1) == 1


class TestDocumentsAndRecordings:
    async def test_a_pdf_is_kept_as_it_came_with_its_pages_counted(self, app: ServedApp, join_app: Join) -> None:
        person, content = await join_app(app, plan=PlanTier.PREMIUM), pdf("one", "two", "three")

        sent = await send(person, "a.pdf", content)

        assert sent | {"kind": "pdf", "media_type": "application/pdf", "pages": 3, "width": None} == sent
        assert await content_of(person, sent) == content

    async def test_a_pdf_that_only_must_not_be_changed_is_taken(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)

        assert (await send(person, "a.pdf", restricted_pdf()))["pages"] == 1

    async def test_a_recording_is_kept_as_it_came_with_its_length(self, app: ServedApp, join_app: Join) -> None:
        person, content = await join_app(app, plan=PlanTier.PREMIUM), wav(2.5)

        sent = await send(person, "a.wav", content)

        assert sent | {"kind": "audio", "media_type": "audio/wav", "duration_seconds": 2.5, "pages": None} == sent
        assert await content_of(person, sent) == content

    @pytest.mark.parametrize("ending", ["mp3", "aac", "m4a", "flac", "ogg", "aiff"])
    async def test_recordings_of_every_type_are_taken(self, app: ServedApp, join_app: Join, ending: str) -> None:
        person, content = await join_app(app, plan=PlanTier.PREMIUM), getattr(sounds, ending)(10)

        sent = await send(person, f"a.{ending}", content)

        assert (sent["kind"], round(sent["duration_seconds"], 1)) == ("audio", 10.0)
        assert sent["media_type"] in AUDIO_FORMATS
        assert await content_of(person, sent) == content

    async def test_more_pages_than_the_plan_allows_are_refused(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)
        limit = ATTACHMENT_LIMITS[PlanTier.PREMIUM].pdf_pages

        answer = await person.http.post(ATTACHMENTS, files={"file": ("a.pdf", pdf(*["x"] * (limit + 1)))})

        body = answer.json()
        assert (answer.status_code, body["error"], body["measure"]) == (413, "file_too_large", "pages")
        assert (body["limit"], body["available_in"]) == (limit, "unlimited")

    @pytest.mark.parametrize(("name", "content"), [("a.pdf", pdf("x")), ("a.wav", wav())])
    async def test_the_free_plan_has_neither(self, person: Person, name: str, content: bytes) -> None:
        answer = await person.http.post(ATTACHMENTS, files={"file": (name, content)})

        body = answer.json()
        assert (answer.status_code, body["error"]) == (403, "feature_not_available")
        assert (body["plan"], body["available_in"]) == ("free", "premium")

    @pytest.mark.parametrize(
        ("setting", "name", "content"),
        [("pdf_processing_enabled", "a.pdf", pdf("x")), ("audio_processing_enabled", "a.wav", wav())],
    )
    async def test_a_server_that_takes_none_says_so(
        self, serve_app: Serve, join_app: Join, setting: str, name: str, content: bytes
    ) -> None:
        person = await join_app(await serve_app(**{setting: False}), plan=PlanTier.PREMIUM)

        answer = await person.http.post(ATTACHMENTS, files={"file": (name, content)})

        assert (answer.status_code, answer.json().get("error")) == (503, "feature_disabled")


class TestContent:
    async def test_what_could_run_is_to_be_saved_and_nothing_is_sniffed(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)
        for name, content, disposition in (("sálih.pdf", pdf("x"), "attachment"), ("a.png", picture(), "inline")):
            place = f"{ATTACHMENTS}/{(await send(person, name, content))['id']}/content"
            headers = (await person.http.get(place)).headers
            assert headers["content-disposition"].startswith(f"{disposition}; filename*=UTF-8''")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"] == "default-src 'none'; sandbox"

    async def test_it_need_not_be_sent_twice(self, person: Person) -> None:
        place = f"{ATTACHMENTS}/{(await send(person))['id']}/content"
        tag = (await person.http.get(place)).headers["etag"]

        again = await person.http.get(place, headers={"If-None-Match": tag})

        assert (again.status_code, again.content) == (304, b"")

    @pytest.mark.parametrize(
        ("asked", "status", "start", "end"),
        [
            ("bytes=0-9", 206, 0, 10),
            ("bytes=10-", 206, 10, None),
            ("bytes=-5", 206, -5, None),
            ("bytes=3-999999999", 206, 3, None),
            ("bytes=999999999-", 416, 0, 0),
            ("bytes=9-3", 416, 0, 0),
            ("bytes=0-1,4-5", 200, 0, None),
            ("words=1-2", 200, 0, None),
        ],
    )
    async def test_a_part_of_it_comes_alone(
        self, person: Person, asked: str, status: int, start: int, end: int | None
    ) -> None:
        sent = await send(person)
        whole = await content_of(person, sent)

        answer = await person.http.get(f"{ATTACHMENTS}/{sent['id']}/content", headers={"Range": asked})

        assert answer.status_code == status
        assert answer.content == whole[start:end]
        if status == 206:
            first = start % len(whole)
            assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(whole)}"


class TestKeeping:
    async def test_the_same_content_lies_there_once_for_each_account(
        self, app: ServedApp, person: Person, join_app: Join
    ) -> None:
        first, second = await send(person), await send(person, "again.png")
        other = await join_app(app)
        await send(other)

        assert first["sha256"] == second["sha256"]
        assert [each.state for each in await blobs_of(app, person)] == ["stored", "stored"]  # it, and models' copy
        assert len(await blobs_of(app, other)) == 2
        await person.http.delete(f"{ATTACHMENTS}/{first['id']}")
        await app.services.file_collector.run_once()
        assert len(await content_of(person, second)) == second["size_bytes"]

    async def test_deleting_the_last_one_removes_the_bytes(self, app: ServedApp, person: Person) -> None:
        sent = await send(person)

        answer = await person.http.delete(f"{ATTACHMENTS}/{sent['id']}")
        await app.services.file_collector.run_once()

        assert answer.status_code == 204
        assert (await person.http.get(f"{ATTACHMENTS}/{sent['id']}/content")).status_code == 404
        assert await blobs_of(app, person) == []
        assert await count_chunks(app, person) == 0

    async def test_a_message_goes_on_telling_of_a_deleted_file(self, app: ServedApp, person: Person) -> None:
        sent, conversation = await send(person), await person.begin()
        await person.chat(conversation, attachment_ids=[sent["id"]])

        await person.http.delete(f"{ATTACHMENTS}/{sent['id']}")
        await app.services.file_collector.run_once()

        told = (await person.http.get(f"/api/v1/conversations/{conversation}")).json()["messages"][0]["attachments"]
        assert [(each["name"], each["deleted_at"] is None) for each in told] == [("mosque.png", False)]
        assert await blobs_of(app, person) == []
        assert (await person.http.get(f"{ATTACHMENTS}/{sent['id']}")).status_code == 404
        assert (await person.chat(conversation, attachment_ids=[sent["id"]])).status_code == 404

    async def test_a_file_goes_with_the_last_conversation_that_holds_it(self, app: ServedApp, person: Person) -> None:
        sent, conversations = await send(person), [await person.begin(), await person.begin()]
        for each in conversations:
            await person.chat(each, attachment_ids=[sent["id"]])

        await person.http.delete(f"/api/v1/conversations/{conversations[0]}")
        await app.services.file_collector.run_once()
        assert len(await content_of(person, sent)) == sent["size_bytes"]
        await person.http.delete(f"/api/v1/conversations/{conversations[1]}")
        await app.services.file_collector.run_once()

        assert (await person.http.get(ATTACHMENTS)).json()["items"] == []
        assert await blobs_of(app, person) == []

    async def test_what_was_never_sent_is_forgotten_after_a_day(self, serve_app: Serve, join_app: Join) -> None:
        clock = MovedClock()
        app = await serve_app(clock=clock, access_token_minutes=1440)
        person = await join_app(app)
        sent, unsent = await send(person), await send(person, "b.png", picture(size=(9, 9)))
        await person.chat(await person.begin(), attachment_ids=[sent["id"]])

        clock.ahead += timedelta(hours=23)
        await app.services.file_collector.run_once()
        assert len((await person.http.get(ATTACHMENTS)).json()["items"]) == 2
        clock.ahead += timedelta(hours=1)
        await app.services.file_collector.run_once()

        async with app.services.database.read_only() as uow:
            left = await uow.attachments.list_page(person.user_id, after=None, limit=10)
        assert [str(each.id) for each in left] == [sent["id"]] != [unsent["id"]]
        assert len(await blobs_of(app, person)) == 2

    async def test_bytes_of_a_process_that_died_and_of_an_account_that_is_gone_are_removed(
        self, serve_app: Serve, join_app: Join
    ) -> None:
        clock = MovedClock()
        app = await serve_app(clock=clock)
        person, gone = await join_app(app), await join_app(app)
        await send(gone)
        lost = Blob(
            user_id=person.user_id,
            id=uuid4(),
            sha256="0" * 64,
            size_bytes=1,
            storage="database",
            state="arriving",
            changed_at=clock(),
        )
        async with app.services.database.unit_of_work() as uow:
            uow.blobs.add(lost)
            await uow.flush()
            await uow.blob_chunks.add(lost.user_id, lost.id, [(0, b"x")])
            await uow._session.execute(delete(User).where(User.id == gone.user_id))
            await uow.commit()

        await app.services.file_collector.run_once()
        assert await blobs_of(app, gone) == []
        assert len(await blobs_of(app, person)) == 1
        clock.ahead += timedelta(hours=1, seconds=1)
        await app.services.file_collector.run_once()

        assert await blobs_of(app, person) == []
        assert (await count_chunks(app, person), await count_chunks(app, gone)) == (0, 0)

    async def test_there_is_room_for_so_much_and_no_more(self, app: ServedApp, person: Person) -> None:
        sent = await send(person)
        kept = sum(each.size_bytes for each in await blobs_of(app, person))
        async with app.services.database.unit_of_work() as uow:
            room = ATTACHMENT_LIMITS[PlanTier.FREE].kept_bytes
            uow._session.add(
                Blob(
                    user_id=person.user_id,
                    id=uuid4(),
                    sha256="1" * 64,
                    size_bytes=room - kept,
                    storage="database",
                    state="stored",
                    changed_at=datetime.now(UTC),
                )
            )
            await uow.commit()

        answer = await person.http.post(ATTACHMENTS, files={"file": ("b.png", picture(size=(9, 9)))})

        body = answer.json()
        assert (answer.status_code, body["error"], body["meter"]) == (400, "quota_exceeded", "storage")
        assert [each["id"] for each in (await person.http.get(ATTACHMENTS)).json()["items"]] == [sent["id"]]

    async def test_the_list_is_read_page_by_page(self, person: Person) -> None:
        ids = [(await send(person, f"{number}.png"))["id"] for number in range(5)]
        found: list[str] = []
        cursor: str | None = None
        while True:
            query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await person.http.get(ATTACHMENTS, params=query)).json()
            found += [each["id"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break

        assert found == ids[::-1]
        assert (await person.http.get(ATTACHMENTS, params={"cursor": "x"})).status_code == 422


class TestStores:
    async def test_each_kind_of_store_shows_what_was_sent_and_the_others_stay_readable(
        self, serve_app: Serve, join_app: Join, s3_server: S3Server, tmp_path: Path
    ) -> None:
        s3_server.make_bucket(bucket := f"app-{uuid4().hex}")
        place: dict[str, Any] = {
            "image_s3_bucket": bucket,
            "image_s3_endpoint": s3_server.url,
            "image_s3_access_key_id": KEY,
            "image_s3_secret_access_key": SECRET,
        }
        apps = [await serve_app(image_storage_type=kind, **place) for kind in ("database", "local", "s3")]
        person = await join_app(apps[0])
        sent = []
        for number, app in enumerate(apps):
            async with app.client(headers=person.http.headers) as http:
                upload = {"file": ("a.png", picture(size=(100 + number, 50)))}
                sent.append((await http.post(ATTACHMENTS, files=upload)).json())

        kinds = [each.storage for each in await blobs_of(apps[0], person)]
        assert sorted(kinds) == ["database", "database", "local", "local", "s3", "s3"]
        assert len([each for each in (tmp_path / "blobs").rglob("*") if each.is_file()]) == 2
        assert len(s3_server.list_keys(bucket)) == 2
        for each in sent:
            assert hashlib.sha256(await content_of(person, each)).hexdigest() == each["sha256"]
            await person.http.delete(f"{ATTACHMENTS}/{each['id']}")
        await apps[0].services.file_collector.run_once()

        assert await blobs_of(apps[0], person) == []
        assert s3_server.list_keys(bucket) == []
        assert list((tmp_path / "blobs").iterdir()) == []

    async def test_a_store_out_of_reach_is_told_and_leaves_no_file(self, serve_app: Serve, join_app: Join) -> None:
        place: dict[str, Any] = {
            "image_s3_bucket": "nowhere",
            "image_s3_endpoint": "http://127.0.0.1:9",
            "image_s3_access_key_id": KEY,
            "image_s3_secret_access_key": SECRET,
        }
        app = await serve_app(image_storage_type="s3", **place)
        person = await join_app(app)

        answer = await person.http.post(ATTACHMENTS, files={"file": ("a.png", picture())})

        assert (answer.status_code, answer.json().get("error")) == (503, "storage_unavailable")
        async with app.services.database.read_only() as uow:
            assert list(await uow._session.scalars(select(Attachment))) == []
        assert {each.state for each in await blobs_of(app, person)} <= {"leaving"}  # until it can be reached
