"""Files that people send: taken in, shown again, listed and deleted."""

import hashlib
import io

import pytest
from PIL import Image

from tests.conftest import Join
from tests.support.accounts import Person
from tests.support.files import picture
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

ATTACHMENTS = "/api/v1/attachments"


class TestUploadingAPicture:
    async def test_it_comes_back_with_its_measures(self, person: Person) -> None:
        answer = await person.http.post(ATTACHMENTS, files={"file": ("mosque.png", picture(size=(64, 48)))})

        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert body | {"name": "mosque.png", "kind": "image", "media_type": "image/png", "width": 64} == body
        assert (body["height"], body["pages"], body["duration_seconds"], body["deleted_at"]) == (48, None, None, None)
        content = await person.http.get(f"{ATTACHMENTS}/{body['id']}/content")
        assert content.status_code == 200
        assert content.headers["content-type"] == "image/png"
        assert hashlib.sha256(content.content).hexdigest() == body["sha256"]
        assert Image.open(io.BytesIO(content.content)).size == (64, 48)
        assert (await person.http.get(f"{ATTACHMENTS}/{body['id']}")).json() == body

    async def test_it_is_nobody_elses(self, app: ServedApp, person: Person, join_app: Join) -> None:
        answer = await person.http.post(ATTACHMENTS, files={"file": ("mosque.png", picture())})
        other = await join_app(app)
        place = f"{ATTACHMENTS}/{answer.json()['id']}"

        for response in (
            await other.http.get(place),
            await other.http.get(f"{place}/content"),
            await other.http.delete(place),
        ):
            assert (response.status_code, response.json()["error"]) == (404, "not_found")
        assert (await other.http.get(ATTACHMENTS)).json()["items"] == []
        assert (await person.http.get(place)).status_code == 200
