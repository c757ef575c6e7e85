"""kill -9 in the middle of turns: what was held is given back, what was billed is in the ledger, once."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from app.core.clock import utc_now
from app.core.config import Settings
from app.db.models import Message, QuotaLease, UnbilledCall, UsageEvent
from app.domain.periods import period_containing
from app.domain.plans import PlanTier
from app.domain.quotas import Amounts
from app.services.assembly import Services
from tests.emulator.process import EmulatorProcess
from tests.support.served import TEST_JWT_SECRET, TEST_KEY, make_settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1200)]
CRASHES = int(os.environ.get("CRASHES", "4"))
"""How often the process is killed; `make soak` does it more often."""
TURNS_AT_ONCE = 8


@contextmanager
def app_process(
    settings: Settings, *, workers: int = 1, lease_seconds: int = 2
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The app as an operator runs it: `uvicorn app.main:app`, with its settings in the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = ("database_url", "data_dir", "openrouter_base_url", "argon2_time_cost", "argon2_memory_kib")
    environment = {name.upper(): str(getattr(settings, name)) for name in names}
    environment |= {"JWT_SECRET": TEST_JWT_SECRET, "OPENROUTER_API_KEY": TEST_KEY, "LOG_LEVEL": "ERROR"}
    environment |= {
        "QUOTA_LEASE_SECONDS": str(lease_seconds),
        "RECONCILE_INTERVAL_SECONDS": "0.3",
        "RATE_LIMITS_ENABLED": "false",
    }
    environment |= {"MAX_RUNNING_ANSWERS_PER_USER": "1000", "DATABASE_POOL_SIZE": "5"}
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--workers", str(workers)]
    environment = os.environ | environment
    with subprocess.Popen(command, env=environment, cwd=settings.data_dir, start_new_session=True) as process:  # noqa: S603
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the workers of several processes too


async def until_ready(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as client:
        for _ in range(400):
            with suppress(httpx2.TransportError):
                if (await client.get("/health/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise AssertionError("the app did not come up")


class Books:
    """The database the killed processes leave behind, read by this one."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def value(self, query: object) -> Decimal | int:
        async with self.services.database.read_only() as uow:
            found: Decimal | int | None = (await uow._session.execute(query)).scalar()  # type: ignore[call-overload]
        return found or 0

    async def leave_messages(self, count: int) -> None:
        """Use up the month of the only account but for ``count`` messages."""
        async with self.services.database.unit_of_work() as uow:
            user = await uow.accounts.get_by_email("x@example.com")
            assert user is not None
            plan = await uow.subscriptions.require_plan(user.id, now=utc_now())
            period = period_containing(plan.anchor_at, utc_now())
            await uow.quotas.lock_period(user.id, period)
            used = Amounts(messages=plan.limits.messages_per_month - count)
            await uow.quotas.charge(user.id, period.start, used, cache_savings_usd=Decimal(0))
            await uow.commit()

    async def until_settled(self) -> None:
        held = select(func.count()).select_from(QuotaLease).where(QuotaLease.state == "held")
        unbilled = select(func.count()).select_from(UnbilledCall)
        for _ in range(600):
            if not await self.value(held) and not await self.value(unbilled):
                return
            await asyncio.sleep(0.1)
        raise AssertionError("leases or bills are still open")


@pytest.fixture
async def books(database_url: str, tmp_path: Path, openrouter: EmulatorProcess) -> AsyncIterator[Books]:
    settings = make_settings(database_url=database_url, data_dir=tmp_path, openrouter_url=openrouter.base_url)
    services = Services.build(settings)
    yield Books(services)
    await services.aclose()


async def log_in(books: Books, url: str) -> tuple[dict[str, str], str]:
    user = await books.services.auth.register(email="x@example.com", password="long enough", plan=PlanTier.UNLIMITED)
    conversation = await books.services.conversations.create(user.id)
    tokens = await books.services.auth.login(email="x@example.com", password="long enough")
    return {"Authorization": f"Bearer {tokens.access_token}"}, str(conversation.id)


async def ask(url: str, headers: dict[str, str], body: dict[str, object]) -> int | None:
    """The status of a whole answer; ``None`` where the server died under it."""
    try:
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            answer = await client.post("/api/v1/chat", json=body)
            return answer.status_code
    except httpx2.TransportError:
        return None


async def test_killed_processes_leave_no_hold_no_double_charge_and_no_lost_bill(
    books: Books, openrouter: EmulatorProcess
) -> None:
    # The kill strikes before, within and after an answer. What is billed before the app noted under which id cannot be
    # found again: like a real model, this one takes a while to begin, and its hosts stop billing whom they lose.
    openrouter.configure(tokens_per_second=200, first_token_delay=1.0)
    settings = books.services.settings
    chance = random.Random(7)  # noqa: S311
    headers: dict[str, str] = {}
    conversation_id = ""
    for _ in range(CRASHES):
        with app_process(settings) as (process, url):
            await until_ready(url)
            if not headers:
                headers, conversation_id = await log_in(books, url)
            body = {"conversation_id": conversation_id, "message": "What is Salah?", "stream": True}
            body |= {"model": "openai/gpt-4o", "fallback_models": []}
            turns = [asyncio.create_task(ask(url, headers, body)) for _ in range(TURNS_AT_ONCE)]
            await asyncio.sleep(chance.uniform(0.05, 3.0))
            process.send_signal(signal.SIGKILL)
            await asyncio.gather(*turns)

    openrouter.advance(60)  # OpenRouter writes its records a while after the answer
    with app_process(settings) as (_, url):
        await until_ready(url)
        await books.until_settled()
        assert await ask(url, headers, body) == 200
        await books.until_settled()

    assert await books.value(select(func.count()).select_from(Message).where(Message.status == "pending")) == 0
    completed = select(func.count()).select_from(Message)
    completed = completed.where(Message.status == "completed", Message.role == "assistant")
    charged = select(func.sum(UsageEvent.messages))
    assert await books.value(charged) == await books.value(completed)
    assert await books.value(select(func.sum(UsageEvent.cost_usd))) == Decimal(str(openrouter.bill()["total"]))


async def test_processes_that_share_a_database_let_in_exactly_what_fits(
    books: Books, openrouter: EmulatorProcess
) -> None:
    settings = books.services.settings
    with app_process(settings, workers=4, lease_seconds=60) as (_, url):
        await until_ready(url)
        headers, conversation_id = await log_in(books, url)
        await books.leave_messages(7)
        body = {"conversation_id": conversation_id, "message": "What is Salah?"}
        statuses = await asyncio.gather(*(ask(url, headers, body) for _ in range(100)))

    assert sorted(str(each) for each in statuses) == ["200"] * 7 + ["400"] * 93
