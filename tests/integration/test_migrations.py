"""The migrations on both databases: up, equal to the models, down to nothing, up again."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Uuid, bindparam, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.clock import utc_now
from app.core.ids import new_id
from app.db import migrate
from app.db.base import Base, UTCDateTime
from app.db.database import Database
from app.db.models import User
from app.db.repositories.subscriptions import standing_of, write_standing
from app.domain.lifecycle import DatedPlan, PlanVersion
from app.domain.plans import PlanTier
from app.domain.principal import Role
from tests.support.databases import prepare

pytestmark = pytest.mark.anyio


async def table_names(url: str) -> set[str]:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    finally:
        await engine.dispose()


async def test_upgrading_makes_every_table_of_the_models(empty_database_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_database_url)

    assert await table_names(empty_database_url) == set(Base.metadata.tables) | {"alembic_version"}
    await asyncio.to_thread(migrate.check, empty_database_url)


async def test_downgrading_leaves_nothing_and_upgrading_again_works(empty_database_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    await asyncio.to_thread(migrate.downgrade, empty_database_url)

    assert await table_names(empty_database_url) == {"alembic_version"}
    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    assert set(Base.metadata.tables) <= await table_names(empty_database_url)


@pytest.mark.parametrize(("days", "plan"), [(-1, "free"), (1, "premium")])
async def test_a_downgrade_keeps_the_plan_that_is_in_force(empty_database_url: str, days: int, plan: str) -> None:
    await prepare(empty_database_url)
    database = Database(lambda: empty_database_url)
    user_id = await subscribe_until(database, datetime.now(UTC) + timedelta(days=days))
    await database.close()
    await asyncio.to_thread(migrate.downgrade, empty_database_url, "0001")

    engine = create_async_engine(empty_database_url)
    async with engine.connect() as connection:
        row = (await connection.execute(text("SELECT plan, status, cancel_at FROM subscriptions"))).one()
    await engine.dispose()
    assert tuple(row) == (plan, "active", None)

    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    async with database.read_only() as uow:
        assert (await uow.subscriptions.require_plan(user_id, now=utc_now())).limits.plan == plan
    await database.close()


async def subscribe_until(database: Database, end: datetime) -> UUID:
    """An account on Premium that ends at ``end``."""
    now = datetime.now(UTC)
    user = User(
        id=new_id(),
        email="a@example.com",
        password_hash="x",
        role=Role.USER,
        is_active=True,
        created_at=now,
        updated_at=now,
    )
    async with database.unit_of_work() as uow:
        uow.accounts.add(user)
        await uow.flush()
        row = await uow.subscriptions.subscribe(user.id, PlanTier.PREMIUM, now=now)
        leaving = replace(standing_of(row), scheduled=DatedPlan(PlanVersion(PlanTier.FREE, 1), end))
        write_standing(row, leaving, now=now)
        await uow.commit()
    return user.id


async def test_old_messages_are_chained_in_the_order_they_were_asked(empty_database_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    await asyncio.to_thread(migrate.downgrade, empty_database_url, "0002")
    user, other, empty = (UUID(int=number).hex for number in (1, 2, 3))
    # Two turns that overlapped, then one whose answer was asked for twice; and another conversation in between.
    said = [(11, user, None), (12, user, None), (13, user, 12), (14, user, 11), (15, other, None), (16, other, 15)]
    said += [(17, user, None), (18, user, 17), (19, user, 17)]
    engine = create_async_engine(empty_database_url)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO users (id, email, password_hash, role, is_active, created_at, updated_at)"
                " VALUES (:id, 'a@example.com', 'x', 'user', :yes, :now, :now)"
            ).bindparams(*AT_NOW, bindparam("id", type_=Uuid), yes=True),
            {"id": UUID(user), "now": datetime.now(UTC)},
        )
        for conversation in (user, other, empty):
            await connection.execute(
                text(
                    "INSERT INTO conversations (user_id, id, mode, created_at, updated_at)"
                    " VALUES (:owner, :id, 'standard', :now, :now)"
                ).bindparams(*AT_NOW, bindparam("owner", type_=Uuid), bindparam("id", type_=Uuid)),
                {"owner": UUID(user), "id": UUID(conversation), "now": datetime.now(UTC)},
            )
        for number, conversation, parent in said:
            await connection.execute(
                text(
                    "INSERT INTO messages (user_id, id, conversation_id, parent_id, role, status, content, created_at,"
                    " is_provisional) VALUES (:owner, :id, :conversation, :parent, :role, 'completed', 'x', :now, :no)"
                ).bindparams(
                    *AT_NOW, *(bindparam(name, type_=Uuid) for name in ("owner", "id", "conversation", "parent"))
                ),
                {
                    "owner": UUID(user),
                    "id": UUID(int=number),
                    "conversation": UUID(conversation),
                    "parent": UUID(int=parent) if parent else None,
                    "role": "assistant" if parent else "user",
                    "now": datetime.now(UTC),
                    "no": False,
                },
            )

    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    assert await parents(engine) == {11: None, 14: 11, 12: 14, 13: 12, 17: 13, 18: 17, 19: 17, 15: None, 16: 15}
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT id, active_message_id FROM conversations").columns(id=Uuid, active_message_id=Uuid)
        )
        active = {row.id.int: row.active_message_id and row.active_message_id.int for row in rows}
    assert active == {1: 19, 2: 16, 3: None}

    await engine.dispose()
    await asyncio.to_thread(migrate.downgrade, empty_database_url, "0002")
    assert await parents(engine) == {11: None, 14: 11, 12: None, 13: 12, 17: None, 18: 17, 19: 17, 15: None, 16: 15}
    await engine.dispose()


AT_NOW = (bindparam("now", type_=UTCDateTime),)


async def parents(engine: AsyncEngine) -> dict[int, int | None]:
    """Of each message the message it follows."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT id, parent_id FROM messages").columns(id=Uuid, parent_id=Uuid))
        return {row.id.int: row.parent_id and row.parent_id.int for row in rows}


def test_the_tables_of_the_product_stand_under_their_names() -> None:
    assert set(Base.metadata.tables) == {
        "users",
        "refresh_tokens",
        "conversations",
        "messages",
        "message_attempts",
        "message_attachments",
        "attachments",
        "blobs",
        "blob_chunks",
        "subscriptions",
        "plan_limits",
        "plan_overrides",
        "audit_log",
        "monthly_usage_quotas",
        "quota_leases",
        "usage_events",
        "usage_daily",
        "usage_monthly",
        "system_usage",
        "answer_facts",
        "answer_tallies",
        "unbilled_calls",
        "idempotency_keys",
        "parsed_files",
        "preset_versions",
        "generated_images",
        "model_presets",
    }


def test_messages_have_the_fourteen_accounting_fields() -> None:
    assert {
        "cached_tokens_read",
        "cached_tokens_write",
        "cache_discount_usd",
        "cache_breakpoint_count",
        "reasoning_tokens",
        "audio_tokens",
        "upstream_inference_cost_usd",
        "routing_strategy",
        "fallback_used",
        "models_attempted",
        "final_model_used",
        "response_schema",
        "structured_data",
        "schema_validation_passed",
    } <= set(Base.metadata.tables["messages"].columns.keys())


OF_THE_HOUSE = {"users", "plan_limits", "audit_log", "system_usage", "answer_tallies"}
"""They tell of many people: the audit log also of deeds that concern nobody in particular, the sums of nobody."""


@pytest.mark.parametrize("name", sorted(set(Base.metadata.tables) - OF_THE_HOUSE))
def test_user_owned_tables_carry_the_user_in_their_keys(name: str) -> None:
    table = Base.metadata.tables[name]
    assert "user_id" in table.primary_key.columns
    for constraint in table.foreign_key_constraints:
        if constraint.referred_table.name not in ("users", "plan_limits"):
            assert "user_id" in constraint.column_keys
