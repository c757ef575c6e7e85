"""Files that people send: taken in, shown again, listed and deleted."""

import hashlib
import io
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image
from sqlalchemy import update

from app.core.ids import new_id
from app.db.models import Attachment, Message, MessageAttachment
from tests.conftest import Join
from tests.support.accounts import Person
from tests.support.conversations import add_branch
from tests.support.files import picture
from tests.support.served import ServedApp
from tests.support.statements import counted_statements

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
            assert (response.status_code, response.json().get("error")) == (404, "not_found")
        assert (await other.http.get(ATTACHMENTS)).json()["items"] == []
        assert (await person.http.get(place)).status_code == 200


async def send(person: Person, name: str = "mosque.png", content: bytes | None = None) -> str:
    """Upload a file; its id."""
    answer = await person.http.post(ATTACHMENTS, files={"file": (name, content or picture())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def messages_of(person: Person, conversation_id: str, **query: str) -> list[dict[str, Any]]:
    answer = await person.http.get(f"/api/v1/conversations/{conversation_id}", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


class TestFilesBesideAQuestion:
    async def test_they_stand_beside_it_in_the_order_they_were_sent(self, person: Person) -> None:
        first, second = await send(person, "a.png"), await send(person, "b.png", picture(size=(30, 30)))
        conversation = await person.begin()

        answer = await person.chat(conversation, attachment_ids=[second, first])

        assert answer.status_code == 200, answer.text
        asked, answered = await messages_of(person, conversation)
        assert [(each["id"], each["name"]) for each in asked["attachments"]] == [(second, "b.png"), (first, "a.png")]
        assert answered["attachments"] == []

    async def test_a_foreign_or_unknown_file_is_not_found(self, app: ServedApp, person: Person, join_app: Join) -> None:
        foreign = await send(await join_app(app))
        mine, conversation = await send(person), await person.begin()

        for attachment_id in (foreign, str(uuid4())):
            answer = await person.chat(conversation, attachment_ids=[mine, attachment_id])
            assert (answer.status_code, answer.json().get("error")) == (404, "not_found")
            assert answer.json()["field"] == "attachment_ids"
            assert attachment_id in answer.json()["detail"]
        assert await messages_of(person, conversation) == []

    @pytest.mark.parametrize("count", [2, 21])
    async def test_naming_one_twice_or_too_many_is_refused(self, person: Person, count: int) -> None:
        ids = [str(uuid4())] * 2 if count == 2 else [str(uuid4()) for _ in range(count)]

        answer = await person.chat(await person.begin(), attachment_ids=ids)

        assert answer.status_code == 422
        assert answer.json()["fields"][0]["field"] == "attachment_ids"

    async def test_an_edited_question_keeps_them_unless_told_otherwise(self, person: Person) -> None:
        attachment_id, conversation = await send(person), await person.begin()
        await person.chat(conversation, attachment_ids=[attachment_id])
        question = (await messages_of(person, conversation))[0]["id"]

        for body, kept in (({}, [attachment_id]), ({"attachment_ids": []}, [])):
            edited = await person.http.post(
                f"/api/v1/chat/messages/{question}/edit", json={"message": "In other words?", **body}
            )
            assert edited.status_code == 200, edited.text
            asked = (await messages_of(person, conversation))[0]
            assert [each["id"] for each in asked["attachments"]] == kept

    async def test_they_are_named_in_what_is_taken_away(self, person: Person) -> None:
        attachment_id, conversation = await send(person, "my *mosque*.png"), await person.begin()
        await person.chat(conversation, attachment_ids=[attachment_id])

        whole = await person.http.get(f"/api/v1/conversations/{conversation}/export")
        readable = await person.http.get(f"/api/v1/conversations/{conversation}/export", params={"format": "markdown"})

        assert whole.json()["messages"][0]["attachments"][0]["id"] == attachment_id
        assert r"*image: my \*mosque\*.png*" in readable.text

    async def test_fifty_of_them_are_told_in_as_many_statements_as_one(self, app: ServedApp, person: Person) -> None:
        counts = []
        for questions in (1, 50):
            conversation = await person.begin()
            ids = await copies(app, person, await send(person), questions)
            await answered_with(app, person, conversation, ids)
            with counted_statements(app) as statements:
                messages = await messages_of(person, conversation)
            assert [each["attachments"][0]["id"] for each in messages if each["role"] == "user"] == ids
            assert not any("blob_chunks" in each for each in statements)
            counts.append(len(statements))

        assert counts[0] == counts[1]


async def copies(app: ServedApp, person: Person, attachment_id: str, count: int) -> list[str]:
    """So many files with the content of this one."""
    async with app.services.database.unit_of_work() as uow:
        row = await uow.attachments.require(person.user_id, UUID(attachment_id))
        columns = {each.name: getattr(row, each.name) for each in Attachment.__table__.columns}
        made = [Attachment(**columns | {"id": new_id()}) for _ in range(count)]
        uow._session.add_all(made)
        await uow.commit()
    return [str(each.id) for each in made]


async def answered_with(app: ServedApp, person: Person, conversation_id: str, attachment_ids: list[str]) -> None:
    """Questions with a file beside each, and their answers, written straight into the database."""
    ids = await add_branch(app.services.database, person.user_id, conversation_id, messages=2 * len(attachment_ids))
    async with app.services.database.unit_of_work() as uow:
        for message_id, attachment_id in zip(ids[::2], attachment_ids, strict=True):
            uow._session.add(
                MessageAttachment(
                    user_id=person.user_id, message_id=message_id, position=0, attachment_id=UUID(attachment_id)
                )
            )
            await uow._session.execute(update(Message).where(Message.id == message_id).values(attachment_count=1))
        await uow.commit()
