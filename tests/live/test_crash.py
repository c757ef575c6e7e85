"""kill -9 in the middle of turns: what was held is given back, what was billed is in the ledger, once."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from app.db.models import GeneratedImage, Message, MonthlyUsageQuota, QuotaLease, UnbilledCall, UsageEvent
from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.emulator.process import EmulatorProcess
from tests.live.processes import app_process, until_ready
from tests.live.readers import ask_many, open_account
from tests.support.served import make_settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1200)]
CRASHES = int(os.environ.get("CRASHES", "4"))
"""How often the process is killed; `make soak` does it more often."""
KILLED_STREAMS = int(os.environ.get("KILLED_STREAMS", "12"))
"""How many answers run when it is; there too."""
TURNS_AT_ONCE = 8


class Books:
    """The database the killed processes leave behind, read by this one."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def value(self, query: object) -> Decimal | int:
        async with self.services.database.read_only() as uow:
            found: Decimal | int | None = (await uow._session.execute(query)).scalar()  # type: ignore[call-overload]
        return found or 0

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


async def ask(url: str, headers: dict[str, str], body: dict[str, object], path: str = "/api/v1/chat") -> int | None:
    """The status of a whole answer; ``None`` where the server died under it."""
    try:
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            answer = await client.post(path, json=body)
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


async def test_what_readers_had_seen_is_kept_of_every_answer(books: Books, openrouter: EmulatorProcess) -> None:
    openrouter.configure(tokens_per_second=20)
    account = await open_account(books.services)
    settings = books.services.settings
    with app_process(settings, lease_seconds=5, answer_checkpoint_seconds=0.2) as (process, url):
        await until_ready(url)
        running = await ask_many(account, url, KILLED_STREAMS, events=10)
        await asyncio.sleep(1)
        process.send_signal(signal.SIGKILL)
        await asyncio.gather(*running.values(), return_exceptions=True)

    openrouter.advance(60)
    with app_process(settings, lease_seconds=5) as (_, url):
        await until_ready(url)
        await books.until_settled()
        endings = account.reader()
        await endings.read_on(url, message_id=next(iter(running)).message_id)
    await account.http.aclose()

    stored = await account.answers()
    assert len(stored) == KILLED_STREAMS
    for reader in running:
        message = stored[reader.message_id]
        assert message.status == "interrupted"
        assert message.content != ""
        assert reader.text.startswith(message.content)
    assert [each.name for each in endings.events] == ["message.interrupted"]
    assert await account.held() == 0
    ledger = await account.ledger()
    assert sum(each.messages for each in ledger) == 0
    assert sum(each.cost_usd or 0 for each in ledger) == Decimal(str(openrouter.bill()["total"])) > 0


async def test_killed_processes_leave_pictures_and_their_bills_alike(books: Books, openrouter: EmulatorProcess) -> None:
    openrouter.configure(first_token_delay=0.8)
    settings = books.services.settings
    chance = random.Random(11)  # noqa: S311
    user = await books.services.auth.register(email="y@example.com", password="long enough", plan=PlanTier.UNLIMITED)
    tokens = await books.services.auth.login(email="y@example.com", password="long enough")
    headers = {"Authorization": f"Bearer {tokens.access_token}"}
    body: dict[str, object] = {"prompt": "A mosque", "model": "google/gemini-2.5-flash-image", "n": 2}
    path = "/api/v1/images/generate"
    for _ in range(2):
        with app_process(settings) as (process, url):
            await until_ready(url)
            asked = [asyncio.create_task(ask(url, headers, body, path)) for _ in range(2)]
            # Its headers have come by then: what is billed before cannot be found again.
            await asyncio.sleep(chance.uniform(0.6, 2.0))
            process.send_signal(signal.SIGKILL)
            await asyncio.gather(*asked)

    openrouter.advance(60)
    with app_process(settings) as (_, url):
        await until_ready(url)
        await books.until_settled()
        assert await ask(url, headers, body, path) == 200
        await books.until_settled()

    kept = await books.value(select(func.count()).select_from(GeneratedImage).where(GeneratedImage.user_id == user.id))
    assert kept >= 2
    assert await books.value(select(func.sum(UsageEvent.images))) == kept
    assert await books.value(select(func.sum(MonthlyUsageQuota.images_used))) == kept
    assert await books.value(select(func.sum(UsageEvent.cost_usd))) == Decimal(str(openrouter.bill()["total"]))
