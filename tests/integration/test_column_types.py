"""Money and time come back as they went in, on both databases."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError, StatementError

from app.core.ids import new_id
from app.db.database import Database
from app.db.models import Conversation, Message, MonthlyUsageQuota, User
from app.domain.principal import Role

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


def make_user(**changes: object) -> User:
    values = {
        "id": new_id(),
        "email": f"{uuid4().hex}@example.com",
        "password_hash": "x",
        "role": Role.USER,
        "is_active": True,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return User(**(values | changes))


def make_counters(user: User, *, cost_usd: Decimal, months: int = 0) -> MonthlyUsageQuota:
    start = NOW + timedelta(days=31 * months)
    return MonthlyUsageQuota(
        user_id=user.id,
        period_start=start,
        period_end=start + timedelta(days=31),
        messages_used=0,
        tokens_used=0,
        images_used=0,
        cost_usd=cost_usd,
        cache_savings_usd=Decimal(0),
    )


async def add(database: Database, *rows: object) -> None:
    async with database.unit_of_work() as uow:
        for row in rows:
            uow._session.add(row)
            await uow.flush()
        await uow.commit()


async def test_an_instant_comes_back_aware_and_equal(database: Database) -> None:
    tehran = timezone(timedelta(hours=3, minutes=30))
    user = make_user(created_at=NOW.astimezone(tehran))
    await add(database, user)

    async with database.read_only() as uow:
        stored = (await uow._session.scalars(select(User.created_at).where(User.id == user.id))).one()
    assert stored == NOW
    assert stored.utcoffset() == timedelta(0)


async def test_a_naive_datetime_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="naive"):
        await add(database, make_user(created_at=datetime(2026, 1, 1)))  # noqa: DTZ001


async def test_money_is_exact_to_twelve_decimals_also_in_sums_and_increments(database: Database) -> None:
    user, tenth = make_user(), Decimal("0.1")
    tiny = Decimal("0.000000083333")
    await add(database, user, *(make_counters(user, cost_usd=tenth, months=month) for month in range(3)))
    async with database.unit_of_work() as uow:
        await uow._session.execute(update(MonthlyUsageQuota).values(cost_usd=MonthlyUsageQuota.cost_usd + tiny))
        await uow.commit()

    async with database.read_only() as uow:
        total = (await uow._session.scalars(select(func.sum(MonthlyUsageQuota.cost_usd)))).one()
    assert total == 3 * (tenth + tiny)
    assert isinstance(total, Decimal)


async def test_money_beyond_the_last_decimal_is_rounded_half_even(database: Database) -> None:
    user = make_user()
    await add(database, user, make_counters(user, cost_usd=Decimal("0.0076509169000000005")))

    async with database.read_only() as uow:
        stored = (await uow._session.scalars(select(MonthlyUsageQuota.cost_usd))).one()
    assert stored == Decimal("0.007650916900")


async def test_cached_tokens_cannot_exceed_the_prompt_they_are_part_of(database: Database) -> None:
    user = make_user()
    conversation = Conversation(user_id=user.id, id=new_id(), mode="standard", created_at=NOW, updated_at=NOW)
    message = Message(
        user_id=user.id,
        id=new_id(),
        conversation_id=conversation.id,
        role="assistant",
        status="completed",
        content="",
        created_at=NOW,
        prompt_tokens=10,
        cached_tokens_read=6,
        cached_tokens_write=5,
    )
    with pytest.raises(IntegrityError):
        await add(database, user, conversation, message)


async def test_leaving_a_unit_of_work_without_commit_keeps_nothing(database: Database) -> None:
    async with database.unit_of_work() as uow:
        uow.accounts.add(make_user(email="gone@example.com"))
        await uow.flush()

    async with database.read_only() as uow:
        assert await uow.accounts.get_by_email("gone@example.com") is None
