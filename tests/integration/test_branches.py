"""Reading a branch of a large conversation: what comes back, how much is looked at, and by which index."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text

from app.core.ids import new_id
from app.db.database import Database
from app.db.repositories.branches import PastMessage, Reach
from tests.support.conversations import add_branch, begin
from tests.support.plans import Plan, explained

pytestmark = pytest.mark.anyio
LENGTH = 103
REACH = Reach(messages=LENGTH, tokens=200_000, whole=200_000)


async def begin_large(database: Database) -> tuple[UUID, UUID, list[UUID]]:
    """A conversation of 10,000 messages: a trunk of 4,000, and on it two branches; the ids of the active one."""
    user_id, conversation_id = await begin(database)
    trunk = await add_branch(database, user_id, conversation_id, messages=4_000, text="Trunk")
    await add_branch(database, user_id, conversation_id, messages=3_000, after=trunk[1_999], text="Left", depth=2_000)
    active = await add_branch(
        database, user_id, conversation_id, messages=3_000, after=trunk[-1], text="Right", depth=4_000
    )
    async with database.unit_of_work() as uow:
        await uow._session.execute(text("ANALYZE"))
        await uow.commit()
    return user_id, conversation_id, trunk + active


async def explain_active(database: Database, user_id: UUID, conversation_id: UUID) -> Plan:
    """How the database reads the active branch."""
    async with explained(database, "RECURSIVE") as plan, database.read_only() as uow:
        await uow.branches.get_active(user_id, conversation_id, reach=REACH)
    return plan


async def test_the_end_of_a_branch_is_read_without_looking_at_the_rest(database: Database) -> None:
    user_id, conversation_id, ids = await begin_large(database)

    async with database.read_only() as uow:
        branch = await uow.branches.get_active(user_id, conversation_id, reach=REACH)
    assert branch is not None
    assert [each.id for each in branch.messages] == ids[-LENGTH:]

    plan = await explain_active(database, user_id, conversation_id)
    primary_key = "sqlite_autoindex_messages_1" if database.engine.dialect.name == "sqlite" else "pk_messages"
    assert plan.indexes_of("messages") == {primary_key}, plan
    assert plan.rows_read("messages") in (LENGTH, None), plan


async def test_no_more_is_read_than_the_reach_allows(database: Database) -> None:
    user_id, conversation_id = await begin(database)
    ids = await add_branch(database, user_id, conversation_id, messages=200)

    async with database.read_only() as uow:
        by_tokens = await uow.branches.get_active(
            user_id, conversation_id, reach=Reach(messages=1_000, tokens=300, whole=0)
        )
        everything = await uow.branches.get_active(
            user_id, conversation_id, reach=Reach(messages=1_000, tokens=300_000, whole=0)
        )
    assert by_tokens is not None
    assert everything is not None
    assert [each.id for each in by_tokens.messages] == ids[-31:]
    assert [each.id for each in everything.messages] == ids


async def test_reading_ends_at_a_summary_unless_everything_fits(database: Database) -> None:
    user_id, conversation_id = await begin(database)
    ids = await add_branch(database, user_id, conversation_id, messages=100)
    await add_summary(database, user_id, conversation_id, ids[79])

    async def read(whole: int) -> list[PastMessage]:
        async with database.read_only() as uow:
            reach = Reach(messages=1_000, tokens=5_000, whole=whole)
            branch = await uow.branches.get_active(user_id, conversation_id, reach=reach)
        assert branch is not None
        return list(branch.messages)

    short, whole = await read(989), await read(990)  # the last message begins behind 990 tokens
    assert [each.id for each in short] == ids[79:]
    assert [each.id for each in whole] == ids
    assert [each.summary for each in short if each.summary] == ["In short."]
    assert [each.summary for each in whole if each.summary] == ["In short."]


async def test_what_stands_in_place_of_an_answer_does_not_get_its_summary(database: Database) -> None:
    user_id, conversation_id = await begin(database)
    ids = await add_branch(database, user_id, conversation_id, messages=20)
    await add_summary(database, user_id, conversation_id, ids[9])
    await add_summary(database, user_id, conversation_id, ids[15])

    async with database.read_only() as uow:
        reach = Reach(messages=100, tokens=5_000, whole=0)
        branch = await uow.branches.get_through(user_id, ids[15], reach=reach)
    assert branch is not None
    assert [each.id for each in branch.messages] == ids[9:16]


async def test_of_two_summaries_of_the_same_messages_the_first_stays(database: Database) -> None:
    user_id, conversation_id = await begin(database)
    ids = await add_branch(database, user_id, conversation_id, messages=4)

    assert await add_summary(database, user_id, conversation_id, ids[1])
    assert not await add_summary(database, user_id, conversation_id, ids[1])
    async with database.read_only() as uow:
        shown = await uow.branches.list_active(user_id, conversation_id)
        everything = await uow.branches.list_all(user_id, conversation_id)
        siblings = await uow.branches.list_siblings(user_id, conversation_id)
    assert [each.role for each in shown] == ["user", "assistant", "summary", "user", "assistant"]
    assert len(everything) == 5
    assert siblings == {}


async def add_summary(database: Database, user_id: UUID, conversation_id: UUID, message_id: UUID) -> bool:
    row = {
        "user_id": user_id,
        "id": new_id(),
        "conversation_id": conversation_id,
        "parent_id": message_id,
        "role": "summary",
        "status": "completed",
        "content": "In short.",
        "created_at": datetime.now(UTC),
        "is_provisional": False,
    }
    async with database.unit_of_work() as uow:
        added = await uow.branches.add_summary(row)
        await uow.commit()
    return added


async def test_siblings_are_those_who_share_a_parent(database: Database) -> None:
    user_id, conversation_id = await begin(database)
    first = await add_branch(database, user_id, conversation_id, messages=4)
    second = await add_branch(database, user_id, conversation_id, messages=2, after=first[1])
    third = await add_branch(database, user_id, conversation_id, messages=2)

    async with database.read_only() as uow:
        siblings = await uow.branches.list_siblings(user_id, conversation_id)
        children = await uow.branches.list_children(user_id, conversation_id)
        shown = await uow.branches.list_active(user_id, conversation_id)
    assert siblings == {first[1]: [first[2], second[0]], None: [first[0], third[0]]}
    assert children.items() >= siblings.items()
    assert sum(map(len, children.values())) == 8
    assert [each.id for each in shown] == third


async def test_a_branch_of_somebody_else_is_not_there(database: Database) -> None:
    owner_id, conversation_id = await begin(database)
    ids = await add_branch(database, owner_id, conversation_id, messages=2)
    stranger_id, _ = await begin(database)

    async with database.read_only() as uow:
        assert await uow.branches.get_active(stranger_id, conversation_id, reach=REACH) is None
        assert await uow.branches.get_through(stranger_id, ids[-1], reach=REACH) is None
        assert await uow.branches.get_ending_at(stranger_id, conversation_id, ids[-1], reach=REACH) is None
        assert await uow.branches.list_active(stranger_id, conversation_id) == []
        assert await uow.branches.list_children(stranger_id, conversation_id) == {}
