"""Pictures that are kept: their bytes in each store, the history, edits and what becomes of deleted ones."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import insert, select, update

from app.core.clock import utc_now
from app.core.ids import new_id
from app.db.models import Blob, BlobChunk, GeneratedImage
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.images import FLUX, IMAGES, NANO, ask_for, draw, images_used, opened, prompt_in
from tests.support.ledger import require_sound_books
from tests.support.s3 import KEY, SECRET, S3Server, start_s3
from tests.support.served import NO_CERTIFICATES, ServedApp
from tests.support.statements import counted_statements

pytestmark = pytest.mark.anyio


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan."""
    return await join_app(app, plan=PlanTier.PREMIUM)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with start_s3() as server:
        server.make_bucket("pictures")
        yield server


async def history(person: Person, **wanted: Any) -> dict[str, Any]:
    answer = await person.http.get(f"{IMAGES}/history", params=wanted)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


class TestBytes:
    @pytest.mark.parametrize("image_format", ["png", "jpeg"])
    async def test_they_come_back_as_they_were_drawn(self, person: Person, image_format: str) -> None:
        image = await draw(person, "a lighthouse", model=FLUX, image_format=image_format)
        content = await person.http.get(image["url"])

        assert content.headers["content-type"] == image["media_type"] == f"image/{image_format}"
        assert hashlib.sha256(content.content).hexdigest() == image["sha256"]
        assert (len(content.content), opened(content.content).size) == (image["size_bytes"], (1024, 1024))
        assert prompt_in(content.content) == "a lighthouse"
        small = await person.http.get(image["thumbnail_url"])
        assert (small.headers["content-type"], opened(small.content).size) == ("image/webp", (384, 384))

    async def test_they_need_not_be_sent_twice_or_whole(self, person: Person) -> None:
        image = await draw(person)
        whole = await person.http.get(image["url"])
        tag = whole.headers["etag"]

        assert (await person.http.get(image["url"], headers={"If-None-Match": tag})).status_code == 304
        part = await person.http.get(image["url"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])

    async def test_base64_says_the_same(self, person: Person) -> None:
        image = await draw(person, output_format="base64")
        assert base64.b64decode(image["b64_json"]) == (await person.http.get(image["url"])).content

    async def test_a_shape_that_was_not_asked_for_is_told_as_it_is(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("other_ratio")
        image = await draw(person, aspect_ratio="16:9")
        assert (image["aspect_ratio"], image["width"], image["height"]) == ("16:9", 256, 256)

    async def test_they_are_nobody_elses(self, app: ServedApp, person: Person, join_app: Join) -> None:
        image = await draw(person)
        other, place = await join_app(app, plan=PlanTier.PREMIUM), f"{IMAGES}/{image['id']}"

        asked = [
            await other.http.get(place),
            await other.http.get(image["url"]),
            await other.http.get(image["thumbnail_url"]),
            await other.http.delete(place),
            await other.http.post(f"{place}/edit", json={"prompt": "mine"}),
            await other.http.post(f"{place}/regenerate"),
        ]
        assert {(each.status_code, each.json()["error"]) for each in asked} == {(404, "not_found")}
        async with app.client() as nobody:
            assert (await nobody.get(image["url"])).status_code == 401
        assert await images_used(other) == 0
        assert (await person.http.get(image["url"])).status_code == 200

    async def test_one_too_large_is_not_kept_nor_charged(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(image_max_size_mb="0.001")
        person = await join_app(app, plan=PlanTier.PREMIUM)
        assert (await ask_for(person)).status_code == 502
        assert await images_used(person) == 0


class TestStores:
    async def test_a_folder(self, serve_app: Serve, join_app: Join, tmp_path: Any) -> None:
        app = await serve_app(image_storage_type="local", image_storage_path=tmp_path / "kept")
        person = await join_app(app, plan=PlanTier.PREMIUM)
        image = await draw(person, "in a folder")

        files = [each for each in (tmp_path / "kept").rglob("*") if each.is_file()]
        assert len(files) == 2
        assert prompt_in((await person.http.get(image["url"])).content) == "in a folder"
        await delete_for_good(app, person, image)
        assert not [each for each in (tmp_path / "kept").rglob("*") if each.is_file()]

    async def test_a_bucket_gives_signed_addresses(self, serve_app: Serve, join_app: Join, s3: S3Server) -> None:
        app = await serve_app(
            image_storage_type="s3",
            image_s3_endpoint=s3.url,
            image_s3_bucket="pictures",
            image_s3_access_key_id=KEY,
            image_s3_secret_access_key=SECRET,
        )
        person = await join_app(app, plan=PlanTier.PREMIUM)
        image = await draw(person, "in a bucket")

        assert image["url"].startswith(s3.url)
        assert "X-Amz-Expires=3600" in image["url"]
        assert image["url_expires_at"] is not None
        async with httpx2.AsyncClient(verify=NO_CERTIFICATES) as anybody:
            assert prompt_in((await anybody.get(image["url"])).content) == "in a bucket"
            assert opened((await anybody.get(image["thumbnail_url"])).content).size == (384, 384)
        own = await person.http.get(f"{IMAGES}/{image['id']}/content")
        assert prompt_in(own.content) == "in a bucket"
        assert len([key for key in s3.list_keys("pictures") if person.user_id.hex in key]) == 2
        await delete_for_good(app, person, image)
        assert not [key for key in s3.list_keys("pictures") if person.user_id.hex in key]

    async def test_the_database(self, app: ServedApp, person: Person) -> None:
        image = await draw(person)
        assert image["url_expires_at"] is None
        assert await count_rows(app, person, BlobChunk) > 0
        await delete_for_good(app, person, image)
        assert await count_rows(app, person, BlobChunk) == 0
        assert await count_rows(app, person, Blob) == 0


async def delete_for_good(app: ServedApp, person: Person, image: dict[str, Any]) -> None:
    place = f"{IMAGES}/{image['id']}"
    assert (await person.http.delete(place)).status_code == 204
    assert (await person.http.get(place)).status_code == 404
    assert (await person.http.get(f"{place}/content")).status_code == 404
    await app.services.blobs.remove_leaving()


async def count_rows(app: ServedApp, person: Person, table: Any) -> int:
    async with app.services.database.read_only() as uow:
        return len((await uow._session.scalars(select(table.user_id).where(table.user_id == person.user_id))).all())


class TestDeleting:
    async def test_bytes_that_another_picture_shares_stay(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        first, second = [await draw(person, "the same", model=FLUX, seed=7) for _ in range(2)]
        assert first["sha256"] == second["sha256"]
        assert await count_rows(app, person, Blob) == 2

        await delete_for_good(app, person, first)
        assert opened((await person.http.get(second["url"])).content)
        await delete_for_good(app, person, second)
        assert await count_rows(app, person, Blob) == 0
        assert await images_used(person) == 2  # what was drawn was drawn
        await require_sound_books(app, openrouter, person)


class TestLineage:
    async def test_an_edit_is_drawn_by_the_picture(self, person: Person, openrouter: EmulatorProcess) -> None:
        first = await draw(person, "a mosque", aspect_ratio="4:3")
        answer = await person.http.post(f"{IMAGES}/{first['id']}/edit", json={"prompt": "the same at night"})
        [edited] = answer.json()["images"]

        assert (edited["parent_id"], edited["operation"], edited["prompt"]) == (
            first["id"],
            "edit",
            "the same at night",
        )
        assert edited["aspect_ratio"] == "4:3"
        [reference] = openrouter.requests(path="/api/v1/images")[-1]["body"]["input_references"]
        sent = base64.b64decode(reference["image_url"]["url"].partition(",")[2])
        assert hashlib.sha256(sent).hexdigest() == first["sha256"]

    async def test_another_try_takes_the_same_prompt_and_the_same_reference(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        first = await draw(person, "a mosque", model=FLUX, seed=7)
        [edited] = (await person.http.post(f"{IMAGES}/{first['id']}/edit", json={"prompt": "at night"})).json()[
            "images"
        ]
        [again] = (await person.http.post(f"{IMAGES}/{edited['id']}/regenerate")).json()["images"]

        assert (again["parent_id"], again["operation"], again["prompt"], again["seed"]) == (
            edited["id"],
            "regenerate",
            "at night",
            None,
        )
        bodies = [each["body"] for each in openrouter.requests(path="/api/v1/images")]
        assert bodies[1]["input_references"] == bodies[2]["input_references"]
        [plain] = (await person.http.post(f"{IMAGES}/{first['id']}/regenerate", json={"seed": 8})).json()["images"]
        assert (plain["prompt"], plain["seed"]) == ("a mosque", 8)
        assert "input_references" not in openrouter.requests(path="/api/v1/images")[-1]["body"]

    async def test_what_was_drawn_by_a_deleted_picture_cannot_be_drawn_again(self, person: Person) -> None:
        first = await draw(person)
        [edited] = (await person.http.post(f"{IMAGES}/{first['id']}/edit", json={"prompt": "x"})).json()["images"]
        await person.http.delete(f"{IMAGES}/{first['id']}")

        assert (await person.http.get(f"{IMAGES}/{edited['id']}")).json()["parent_id"] == first["id"]
        assert (await person.http.post(f"{IMAGES}/{edited['id']}/regenerate")).status_code == 404
        assert await images_used(person) == 2


class TestRepeats:
    async def test_a_key_draws_once(self, app: ServedApp, person: Person, openrouter: EmulatorProcess) -> None:
        openrouter.configure(first_token_delay=0.3)
        person.http.headers["Idempotency-Key"] = "k-1"
        answers = await asyncio.gather(*(ask_for(person, n=2) for _ in range(4)))
        again = await ask_for(person, n=2)
        other = await ask_for(person, n=1)
        del person.http.headers["Idempotency-Key"]

        assert {each.status_code for each in (*answers, again)} == {200}
        assert {each.content for each in answers} == {again.content}
        assert (other.status_code, other.json()["error"]) == (409, "idempotency_key_reused")
        assert len(openrouter.requests(path="/api/v1/images")) == 2
        assert await images_used(person) == 2
        await require_sound_books(app, openrouter, person)

    async def test_a_key_whose_request_failed_is_free_again(self, person: Person, openrouter: EmulatorProcess) -> None:
        person.http.headers["Idempotency-Key"] = "k-2"
        openrouter.fault("http_400", times=1)
        assert (await ask_for(person, model=FLUX)).status_code == 502
        assert (await ask_for(person, model=FLUX)).status_code == 200

    async def test_who_leaves_finds_the_picture_later(self, person: Person, openrouter: EmulatorProcess) -> None:
        openrouter.configure(first_token_delay=0.5)
        with pytest.raises(httpx2.ReadTimeout):
            await person.http.post(f"{IMAGES}/generate", json={"prompt": "left"}, timeout=0.2)
        for _ in range(100):
            if items := (await history(person))["items"]:
                break
            await asyncio.sleep(0.1)
        assert [each["prompt"] for each in items] == ["left"]
        assert await images_used(person) == 1


@pytest.fixture
async def many(app: ServedApp, person: Person) -> list[UUID]:
    """10,000 pictures, all with the bytes of one; their ids, newest first."""
    image = await draw(person, "the first")
    async with app.services.database.unit_of_work() as uow:
        row = await uow.images.require(person.user_id, UUID(image["id"]))
        values = {column.key: getattr(row, column.key) for column in GeneratedImage.__table__.columns}
        ids = [new_id() for _ in range(9_999)]
        rows = [values | {"id": id_, "prompt": f"picture {n} of many"} for n, id_ in enumerate(ids)]
        for start in range(0, len(rows), 500):
            await uow._session.execute(insert(GeneratedImage), rows[start : start + 500])
        await uow.commit()
    return [*ids[::-1], UUID(image["id"])]


class TestHistory:
    async def test_pages_hold_each_picture_once(self, person: Person) -> None:
        made = [(await draw(person, f"number {n}", model=FLUX))["id"] for n in range(3)]
        first = await history(person, limit=2)
        second = await history(person, limit=2, cursor=first["next_cursor"])

        assert [each["id"] for each in (*first["items"], *second["items"])] == made[::-1]
        assert second["next_cursor"] is None
        assert (await person.http.get(f"{IMAGES}/history", params={"cursor": "x"})).status_code == 422

    async def test_it_can_be_searched(self, app: ServedApp, person: Person) -> None:
        by_flux = await draw(person, "A 100% blue mosque", model="black-forest-labs/flux-pro")
        await draw(person, "a 100-fold garden", model=NANO)
        yesterday = utc_now() - timedelta(days=1)
        async with app.services.database.unit_of_work() as uow:
            await uow._session.execute(
                update(GeneratedImage)
                .where(GeneratedImage.user_id == person.user_id, GeneratedImage.id == UUID(by_flux["id"]))
                .values(created_at=yesterday)
            )
            await uow.commit()

        wanted: list[dict[str, Any]] = [
            {"model": FLUX},
            {"model": "black-forest-labs/flux-pro"},
            {"q": "100%"},
            {"q": "BLUE"},
            {"before": (yesterday + timedelta(hours=1)).isoformat()},
        ]
        for each in wanted:
            assert [found["id"] for found in (await history(person, **each))["items"]] == [by_flux["id"]], each
        assert len((await history(person, since=yesterday.isoformat()))["items"]) == 2
        assert (await history(person, model=str(uuid4())))["items"] == []

    async def test_a_page_of_many_reads_no_bytes_in_as_many_queries_as_one_of_few(
        self, app: ServedApp, person: Person, many: list[UUID], join_app: Join
    ) -> None:
        few = await join_app(app, plan=PlanTier.PREMIUM)
        await draw(few)
        with counted_statements(app) as of_few:
            await history(few, limit=50)
        with counted_statements(app) as of_many:
            page = await history(person, limit=50)
        middle = await history(person, limit=50, cursor=str(many[4_999]))

        assert [each["id"] for each in page["items"]] == [str(each) for each in many[:50]]
        assert [each["id"] for each in middle["items"]] == [str(each) for each in many[5_000:5_050]]
        assert len(of_many) == len(of_few) <= 3
        assert not [each for each in of_many if "blob_chunks" in each]
