"""One copy of each content, whoever was quicker, and none that has left."""

import hashlib
import io
from pathlib import Path
from uuid import UUID

import pytest

from app.core.config import Settings
from app.db.database import Database
from app.db.models import Blob
from app.services.blob_keeper import BlobKeeper, Content
from tests.support.conversations import begin
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio

CONTENT = b"In the name of God" * 100


@pytest.fixture
def keeper(database: Database, database_url: str, tmp_path: Path) -> BlobKeeper:
    settings = make_settings(database_url=database_url, data_dir=tmp_path, openrouter_url="http://127.0.0.1:9/api/v1")

    def read_settings() -> Settings:
        return settings

    return BlobKeeper(settings=read_settings, database=database)


def content() -> Content:
    return Content(io.BytesIO(CONTENT), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


async def settle(database: Database, keeper: BlobKeeper, blob: Blob) -> UUID | None:
    async with database.unit_of_work() as uow:
        await uow.attachments.lock_owner(blob.user_id)
        settled = await keeper.settle(uow, blob)
        await uow.commit()
    return settled.id if settled else None


async def state_of(database: Database, blob: Blob) -> str | None:
    async with database.read_only() as uow:
        found = await uow.blobs.get(blob.user_id, blob.id)
    return found.state if found else None


async def test_of_two_that_arrive_together_one_stays(database: Database, keeper: BlobKeeper) -> None:
    user_id, _ = await begin(database)
    first, second = await keeper.keep(user_id, content()), await keeper.keep(user_id, content())

    assert await settle(database, keeper, first) == first.id
    assert await settle(database, keeper, second) == first.id
    assert await state_of(database, second) == "leaving"
    await keeper.remove_leaving()
    assert await state_of(database, second) is None
    assert await keeper.read_whole(user_id, first.id, at_most=10_000) == CONTENT


async def test_one_that_was_found_and_has_left_is_to_be_kept_again(database: Database, keeper: BlobKeeper) -> None:
    user_id, _ = await begin(database)
    first = await keeper.keep(user_id, content())
    await settle(database, keeper, first)
    found = await keeper.keep(user_id, content())
    assert found.id == first.id
    async with database.unit_of_work() as uow:
        await uow.blobs.release({(user_id, first.id)}, now=first.changed_at)
        await uow.commit()

    assert await settle(database, keeper, found) is None
    again = await keeper.keep(user_id, content())
    assert await settle(database, keeper, again) == again.id != first.id


async def test_what_was_kept_for_nothing_is_let_go_and_what_is_stored_is_not(
    database: Database, keeper: BlobKeeper
) -> None:
    user_id, _ = await begin(database)
    lost, stored = await keeper.keep(user_id, content()), await keeper.keep(user_id, content())
    await settle(database, keeper, stored)

    await keeper.discard(lost)
    await keeper.discard(stored)  # as one does who did not learn that it was written down

    assert await state_of(database, lost) is None
    assert await keeper.read_whole(user_id, stored.id, at_most=10_000) == CONTENT


async def test_more_than_is_wanted_is_not_read(database: Database, keeper: BlobKeeper) -> None:
    user_id, _ = await begin(database)
    stored = await keeper.keep(user_id, content())
    await settle(database, keeper, stored)

    with pytest.raises(ValueError, match="more than 10"):
        await keeper.read_whole(user_id, stored.id, at_most=10)
