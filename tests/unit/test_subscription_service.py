"""Plans and subscriptions, on both databases."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from app.core.errors import NotFound
from app.core.ids import new_id
from app.db.database import Database
from app.db.models import PlanLimitsRow, Subscription, User
from app.domain import plans
from app.domain.plans import PLAN_LIMITS, PlanTier
from app.domain.principal import Role
from app.services import subscription_service as module
from app.services.quota_service import QuotaService
from app.services.subscription_service import SubscriptionService
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class Clock:
    """Tells the time it was given."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(database: Database, clock: Clock, tmp_path: Path) -> SubscriptionService:
    settings = make_settings(database_url="", data_dir=tmp_path, openrouter_url="http://127.0.0.1:9/api/v1")
    return SubscriptionService(database=database, quotas=QuotaService(settings=lambda: settings), clock=clock)


async def add_user(database: Database) -> User:
    user = User(
        id=new_id(),
        email="a@example.com",
        password_hash="x",
        role=Role.USER,
        is_active=True,
        created_at=NOW,
        updated_at=NOW,
    )
    async with database.unit_of_work() as uow:
        uow.accounts.add(user)
        await uow.commit()
    return user


async def count_plans(database: Database) -> int:
    async with database.read_only() as uow:
        return (await uow._session.scalars(select(func.count()).select_from(PlanLimitsRow))).one()


async def test_seeding_again_writes_nothing(service: SubscriptionService, database: Database) -> None:
    assert await service.seed_plans() == []
    assert await count_plans(database) == len(PLAN_LIMITS)


async def test_a_changed_plan_becomes_a_new_version_and_old_subscribers_keep_theirs(
    service: SubscriptionService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await add_user(database)
    await service.create(user.id, PlanTier.PREMIUM)
    dearer = [
        plans.PlanLimits(**{**{name: getattr(each, name) for name in each.__slots__}, "messages_per_month": 5})
        if each.plan is PlanTier.PREMIUM
        else each
        for each in PLAN_LIMITS
    ]
    monkeypatch.setattr(module, "PLAN_LIMITS", dearer)

    assert await service.seed_plans() == [PlanTier.PREMIUM]
    on_sale = {each.plan: each for each in await service.list_plans()}
    assert (on_sale[PlanTier.PREMIUM].version, on_sale[PlanTier.PREMIUM].messages_per_month) == (2, 5)
    assert (await service.get(user.id)).plan_version == 1
    assert (await service.usage(user.id)).balance.messages.limit == 2_000


async def test_plans_are_listed_cheapest_first(service: SubscriptionService) -> None:
    listed = await service.list_plans()

    assert [each.plan for each in listed] == list(PlanTier)
    assert [each.price_usd_per_month for each in listed] == [
        Decimal(0),
        Decimal("19.99"),
        Decimal("99.99"),
        Decimal("499.99"),
    ]


async def test_a_new_subscription_runs_from_now_for_a_month(service: SubscriptionService, database: Database) -> None:
    user = await add_user(database)
    state = await service.create(user.id, PlanTier.FREE)

    assert (state.plan, state.status) == (PlanTier.FREE, "active")
    assert (state.period.start, state.period.end) == (NOW, datetime(2026, 2, 28, 9, 30, tzinfo=UTC))
    assert await service.get(user.id) == state


async def test_an_account_has_one_subscription(service: SubscriptionService, database: Database) -> None:
    user = await add_user(database)
    await service.create(user.id, PlanTier.FREE)

    with pytest.raises(IntegrityError):
        await service.create(user.id, PlanTier.PREMIUM)
    async with database.read_only() as uow:
        assert len((await uow._session.scalars(select(Subscription))).all()) == 1


async def test_usage_begins_at_zero_and_again_with_each_period(
    service: SubscriptionService, database: Database, clock: Clock
) -> None:
    user = await add_user(database)
    await service.create(user.id, PlanTier.PREMIUM)
    clock.now = datetime(2026, 3, 15, tzinfo=UTC)

    usage = await service.usage(user.id)

    assert [(each.meter.value, each.used, each.limit, each.remaining) for each in usage.balance] == [
        ("messages", 0, 2_000, 2_000),
        ("tokens", 0, 5_000_000, 5_000_000),
        ("images", 0, 100, 100),
        ("cost", 0, 16, 16),
    ]
    assert usage.period.start == datetime(2026, 2, 28, 9, 30, tzinfo=UTC)


async def test_without_a_subscription_there_is_nothing_to_show(service: SubscriptionService) -> None:
    with pytest.raises(NotFound):
        await service.get(new_id())
    with pytest.raises(NotFound):
        await service.usage(new_id())
