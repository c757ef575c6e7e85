"""Searching reads the rows of whoever searches, and stops when the page is full."""

from uuid import UUID

import pytest
from sqlalchemy import text

from app.db.database import Database
from app.db.models import Conversation
from app.domain.search import search_patterns
from tests.support.conversations import add_branch, begin
from tests.support.plans import Plan, explained

pytestmark = pytest.mark.anyio
OWN = 200


async def begin_many(database: Database) -> UUID:
    """Fifteen people with a conversation each; the one who searches."""
    for _ in range(15):
        user_id, conversation_id = await begin(database)
        await add_branch(database, user_id, conversation_id, messages=OWN, text="The five pillars")
    async with database.unit_of_work() as uow:
        await uow._session.execute(text("ANALYZE"))
        await uow.commit()
    return user_id


async def search(database: Database, user_id: UUID, words: str) -> tuple[list[Conversation], Plan]:
    async with explained(database, "messages") as plan, database.read_only() as uow:
        found = await uow.conversations.list_page(user_id, limit=20, after=None, patterns=search_patterns(words))
    return list(found), plan


async def test_nobody_elses_messages_are_looked_at(database: Database) -> None:
    user_id = await begin_many(database)

    found, plan = await search(database, user_id, "nowhere")
    assert found == []
    assert plan.indexes_of("messages") == {"ix_messages_user_id_conversation_id_id"}
    assert plan.rows_read("messages") in (OWN, None)


async def test_a_conversation_is_read_until_the_word_is_found(database: Database) -> None:
    user_id = await begin_many(database)

    found, plan = await search(database, user_id, "pillars")
    assert len(found) == 1
    assert plan.rows_read("messages") in (1, None)
