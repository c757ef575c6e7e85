"""Uploading, sending and deleting the same file at the same instant: whatever is there can be read."""

import asyncio
from typing import Any

import pytest

from tests.conftest import Join
from tests.support.accounts import Person
from tests.support.files import picture
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

ATTACHMENTS = "/api/v1/attachments"
ROUNDS = 6


async def upload(person: Person, content: bytes) -> dict[str, Any]:
    answer = await person.http.post(ATTACHMENTS, files={"file": ("a.png", content)})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def delete(person: Person, attachment: dict[str, Any]) -> int:
    return (await person.http.delete(f"{ATTACHMENTS}/{attachment['id']}")).status_code


async def everything_listed_can_be_read(person: Person) -> int:
    items = (await person.http.get(ATTACHMENTS, params={"limit": "100"})).json()["items"]
    for each in items:
        content = await person.http.get(f"{ATTACHMENTS}/{each['id']}/content")
        assert (content.status_code, len(content.content)) == (200, each["size_bytes"])
    return len(items)


async def kept_states(app: ServedApp, person: Person) -> list[str]:
    async with app.services.database.read_only() as uow:
        swept = await uow.blobs.list_behind(None, limit=10_000)
        removable = await uow.blobs.list_removable(arriving_before=app.services.blobs._clock(), limit=10_000)
    own = ["stored" for each in swept if each.key[0] == person.user_id]
    return own + [each.state for each in removable if each.user_id == person.user_id]


async def test_many_at_once_with_the_same_content_keep_one_copy(app: ServedApp, person: Person) -> None:
    await asyncio.gather(*(upload(person, picture(size=(40, 40))) for _ in range(4)))
    await app.services.file_collector.run_once()

    assert await everything_listed_can_be_read(person) == 4
    assert await kept_states(app, person) == ["stored", "stored"]


async def test_uploading_what_is_just_being_deleted_keeps_it(app: ServedApp, person: Person) -> None:
    content = picture(size=(41, 41))
    last = await upload(person, content)
    for _ in range(ROUNDS):
        last, status, _ = await asyncio.gather(
            upload(person, content), delete(person, last), app.services.file_collector.run_once()
        )
        assert status == 204
        assert await everything_listed_can_be_read(person) == 1
    await app.services.file_collector.run_once()

    assert await kept_states(app, person) == ["stored", "stored"]
    assert await everything_listed_can_be_read(person) == 1


async def test_sending_what_is_just_being_deleted_is_refused_or_tells_of_it(app: ServedApp, person: Person) -> None:
    conversation = await person.begin()
    for _ in range(ROUNDS):
        sent = await upload(person, picture(size=(42, 42)))
        answer, status = await asyncio.gather(
            person.chat(conversation, attachment_ids=[sent["id"]]), delete(person, sent)
        )
        assert status == 204
        messages = (await person.http.get(f"/api/v1/conversations/{conversation}")).json()["messages"]
        told = [each["id"] for message in messages for each in message["attachments"]]
        if answer.status_code == 404:
            assert sent["id"] not in told
        else:
            assert answer.status_code in (200, 503), answer.text  # 503: gone before it was read for the model
            assert sent["id"] in told
    await app.services.file_collector.run_once()

    assert await kept_states(app, person) == []


async def test_deleting_a_conversation_leaves_a_file_that_is_sent_elsewhere_meanwhile(
    app: ServedApp, person: Person, join_app: Join
) -> None:
    kept = await person.begin()
    for number in range(ROUNDS):
        sent, gone = await upload(person, picture(size=(43, 43 + number))), await person.begin()
        assert (await person.chat(gone, attachment_ids=[sent["id"]])).status_code == 200
        answer, deleted = await asyncio.gather(
            person.chat(kept, attachment_ids=[sent["id"]]), person.http.delete(f"/api/v1/conversations/{gone}")
        )
        assert deleted.status_code == 204
        there = (await person.http.get(f"{ATTACHMENTS}/{sent['id']}/content")).status_code
        assert (answer.status_code, there) in ((200, 200), (404, 404)), answer.text
    await app.services.file_collector.run_once()

    await everything_listed_can_be_read(person)
