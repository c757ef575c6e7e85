"""What every store of bytes keeps to, whichever it is."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from app.blobs.local import LocalBlobs
from app.blobs.s3 import PART_BYTES, S3Blobs, S3Place
from app.blobs.store import BlobKey, BlobMissing, BlobStore
from app.core.ids import new_id
from app.db.blob_store import CHUNK_BYTES, CHUNKS_AT_ONCE, DatabaseBlobs
from app.db.database import Database
from tests.support.databases import PostgresTemplates, SQLiteTemplates, find_postgres
from tests.support.s3 import KEY, SECRET, S3Server

pytestmark = pytest.mark.anyio

SIZES = [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES * CHUNKS_AT_ONCE, PART_BYTES + 3]


@pytest.fixture(scope="module", params=["local", "s3", "sqlite", "postgresql"])
async def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, run_id: str, s3_server: S3Server
) -> AsyncIterator[BlobStore]:
    """Keys are never used twice, so that tests can share it."""
    folder = tmp_path_factory.mktemp("blobs")
    if request.param == "local":
        yield LocalBlobs(folder)
    elif request.param == "s3":
        s3_server.make_bucket(bucket := f"blobs-{uuid4().hex}")
        keys = {"access_key_id": KEY, "secret_access_key": SECRET}
        store = S3Blobs(S3Place(bucket=bucket, region="us-east-1", endpoint=s3_server.url, **keys))
        yield store
        await store.aclose()
    else:
        is_sqlite = request.param == "sqlite"
        templates = SQLiteTemplates(folder) if is_sqlite else PostgresTemplates(find_postgres(run_id))
        url = await templates.make()
        database = Database(lambda: url)
        yield DatabaseBlobs(database)
        await database.close()
        await templates.drop(url)
        if isinstance(templates, PostgresTemplates):
            await templates.aclose()


def new_key() -> BlobKey:
    return BlobKey(uuid4(), new_id())


def some_bytes(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[1 : size + 1]


async def in_pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(store: BlobStore, key: BlobKey, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.get(key, start=start, end=end)])


@pytest.mark.parametrize("size", SIZES)
async def test_what_goes_in_comes_out(store: BlobStore, size: int) -> None:
    key, content = new_key(), some_bytes(size)

    await store.put(key, in_pieces(content))

    assert await read(store, key) == content
    assert await store.exists(key)


async def test_any_range_comes_out(store: BlobStore) -> None:
    key, content = new_key(), some_bytes(2 * CHUNK_BYTES + 1000)
    await store.put(key, in_pieces(content))
    end = len(content)

    places = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, end - 1]
    for start in places:
        assert await read(store, key, start) == content[start:]
        for stop in places:
            assert await read(store, key, start, stop) == content[start:stop], (start, stop)


async def test_nothing_is_whole_in_memory(store: BlobStore) -> None:
    key, content = new_key(), some_bytes(5 * 1024 * 1024)
    await store.put(key, in_pieces(content))

    assert max([len(chunk) async for chunk in store.get(key)]) <= 2 * 1024 * 1024


async def test_what_is_not_there_is_missing(store: BlobStore) -> None:
    key = new_key()

    with pytest.raises(BlobMissing):
        await read(store, key)
    assert not await store.exists(key)
    await store.delete(key)


async def test_the_same_id_of_somebody_else_is_another_key(store: BlobStore) -> None:
    key = new_key()
    await store.put(key, in_pieces(b"mine"))

    with pytest.raises(BlobMissing):
        await read(store, BlobKey(uuid4(), key.id))


async def test_what_is_deleted_is_gone_and_the_rest_stays(store: BlobStore) -> None:
    key = new_key()
    other = BlobKey(key.user_id, new_id())
    await store.put(key, in_pieces(b"one"))
    await store.put(other, in_pieces(b"two"))

    await store.delete(key)

    assert not await store.exists(key)
    with pytest.raises(BlobMissing):
        await read(store, key)
    assert await read(store, other) == b"two"


async def test_a_write_that_breaks_off_can_be_cleared_away(store: BlobStore) -> None:
    key = new_key()

    async def breaking_off() -> AsyncIterator[bytes]:
        async for piece in in_pieces(some_bytes(CHUNK_BYTES * CHUNKS_AT_ONCE * 2)):
            yield piece
        raise ConnectionResetError("gone")

    with pytest.raises(Exception, match="gone"):
        await store.put(key, breaking_off())
    await store.delete(key)

    assert not await store.exists(key)


async def test_local_files_are_for_their_owner_alone_and_leave_no_folders(tmp_path: Path) -> None:
    store, key = LocalBlobs(tmp_path / "blobs"), new_key()
    await store.put(key, in_pieces(b"content"))
    (file,) = (each for each in (tmp_path / "blobs").rglob("*") if each.is_file())

    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    await store.delete(key)
    assert list((tmp_path / "blobs").iterdir()) == []
