"""The migrations on both databases: up, equal to the models, down to nothing, up again."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.clock import utc_now
from app.core.ids import new_id
from app.db import migrate
from app.db.base import Base
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


def test_the_tables_of_the_product_stand_under_their_names() -> None:
    assert set(Base.metadata.tables) == {
        "users",
        "refresh_tokens",
        "conversations",
        "messages",
        "message_attempts",
        "message_attachments",
        "subscriptions",
        "plan_limits",
        "plan_overrides",
        "audit_log",
        "monthly_usage_quotas",
        "quota_leases",
        "usage_events",
        "usage_daily",
        "unbilled_calls",
        "idempotency_keys",
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


# The audit log belongs to the house: it tells of many people, and of deeds that concern nobody in particular.
@pytest.mark.parametrize("name", sorted(set(Base.metadata.tables) - {"users", "plan_limits", "audit_log"}))
def test_user_owned_tables_carry_the_user_in_their_keys(name: str) -> None:
    table = Base.metadata.tables[name]
    assert "user_id" in table.primary_key.columns
    for constraint in table.foreign_key_constraints:
        if constraint.referred_table.name not in ("users", "plan_limits"):
            assert "user_id" in constraint.column_keys
