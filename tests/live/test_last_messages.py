"""Hundreds of questions at once for the last seven messages of a month: seven are answered, however they arrive."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from app.core.clock import utc_now
from app.db.models import MonthlyUsageQuota, QuotaLease
from app.domain.periods import period_containing
from app.domain.plans import PlanTier
from app.domain.quotas import Amounts
from app.services.assembly import Services
from tests.emulator.process import EmulatorProcess
from tests.live.processes import app_process, until_ready
from tests.support.accounts import PASSWORD
from tests.support.served import NO_CERTIFICATES, make_settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
LEFT = 7
QUESTIONS = {1: 300, 4: int(os.environ.get("QUESTIONS", "100"))}
"""By the number of processes; `make soak` asks four of them 300 times as well."""
LIMIT = 10_000
EMAIL = "x@example.com"


class Month:
    """The month of one account on the Unlimited plan, looked at from outside the serving processes."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.seen: list[tuple[int, int]] = []
        """Used and reserved messages, as they stood together at one instant."""

    async def use_all_but(self, left: int) -> None:
        user = await self.services.auth.register(email=EMAIL, password=PASSWORD, plan=PlanTier.UNLIMITED)
        now = utc_now()
        async with self.services.database.unit_of_work() as uow:
            plan = await uow.subscriptions.require_plan(user.id, now=now)
            period = period_containing(plan.anchor_at, now)
            await uow.quotas.lock_period(user.id, period)
            used = Amounts(messages=LIMIT - left)
            await uow.quotas.charge(user.id, period.start, used, cache_savings_usd=Decimal(0))
            await uow.commit()

    async def look(self) -> tuple[int, int]:
        held = select(func.coalesce(func.sum(QuotaLease.messages), 0))
        held = held.where(QuotaLease.state == "held", QuotaLease.expires_at > utc_now())
        both = select(MonthlyUsageQuota.messages_used, held.scalar_subquery())
        async with self.services.database.read_only() as uow:
            used, reserved = (await uow._session.execute(both)).one()
        return used, reserved

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look again and again while the block runs."""
        over = asyncio.Event()

        async def watch() -> None:
            while not over.is_set():
                self.seen.append(await self.look())
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            try:
                yield
            finally:
                over.set()  # not cancelled: a look that is under way ends first


@pytest.fixture
async def month(database_url: str, tmp_path: Path, openrouter: EmulatorProcess) -> AsyncIterator[Month]:
    settings = make_settings(database_url=database_url, data_dir=tmp_path, openrouter_url=openrouter.base_url)
    month = Month(Services.build(settings))
    await month.use_all_but(LEFT)
    yield month
    await month.services.aclose()


@pytest.mark.parametrize("workers", QUESTIONS)
async def test_exactly_what_is_left_passes(month: Month, openrouter: EmulatorProcess, workers: int) -> None:
    questions = QUESTIONS[workers]
    openrouter.configure(first_token_delay=0.5)  # long enough for all seven to be held together
    with app_process(month.services.settings, workers=workers, lease_seconds=60) as (_, url):
        await until_ready(url)
        async with month.watched():
            answers = await ask_at_once(month, url, questions)

    assert Counter(each.status_code for each in answers) == {200: LEFT, 400: questions - LEFT}
    assert {each.json()["detail"] for each in answers if each.status_code == 400} == {
        f"Monthly message limit reached ({LIMIT})"
    }
    assert await month.look() == (LIMIT, 0)
    assert max(used + reserved for used, reserved in month.seen) == LIMIT
    assert max(reserved for _, reserved in month.seen) == LEFT


async def ask_at_once(month: Month, url: str, questions: int) -> list[httpx2.Response]:
    tokens = await month.services.auth.login(email=EMAIL, password=PASSWORD)
    headers = {"Authorization": f"Bearer {tokens.access_token}"}
    connections = httpx2.Limits(max_connections=questions, max_keepalive_connections=0)
    async with httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=60, limits=connections, verify=NO_CERTIFICATES
    ) as client:
        conversation = (await client.post("/api/v1/conversations", json={})).json()["id"]
        body = {"conversation_id": conversation, "message": "What is Salah?"}
        return await asyncio.gather(*(client.post("/api/v1/chat", json=body) for _ in range(questions)))
