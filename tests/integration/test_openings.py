"""Turns open and close in few statements, and still in one piece, on both databases."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.core.clock import utc_now
from app.core.ids import new_id
from app.db.database import Database
from app.db.models import Message, MonthlyUsageQuota, QuotaLease, UsageDaily, UsageEvent, User
from app.db.repositories.closings import MessageEnd
from app.db.repositories.openings import Means, Opening
from app.domain.plans import PlanTier
from app.domain.quotas import TurnAsk
from app.services.assembly import Services
from app.services.quota_service import Lease, QuotaService
from tests.integration.test_quotas import SHORT, make_call
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio


class Desk:
    """An account with a conversation, and turns opened by hand."""

    def __init__(self, database: Database, quotas: QuotaService, user_id: UUID, conversation_id: UUID) -> None:
        self.database, self.quotas = database, quotas
        self.user_id, self.conversation_id = user_id, conversation_id

    async def read(self) -> Means | None:
        async with self.database.statement_by_statement() as uow:
            return await uow.openings.get_means(self.user_id, now=utc_now())

    async def write(self, means: Means, ask: TurnAsk = SHORT, **changes: Any) -> tuple[Opening, Lease]:
        now, message_id = utc_now(), new_id()
        lease = self.quotas.grant(self.user_id, means, ask, message_id=message_id)
        said = {"user_id": self.user_id, "conversation_id": self.conversation_id, "created_at": now, "content": ""}
        said |= {"id": message_id, "role": "assistant", "status": "pending", "is_provisional": False}
        async with self.database.statement_by_statement() as uow:
            opening = await uow.openings.write(
                means,
                lease=self.quotas.lease_row(lease, model="openai/gpt-4o", now=now),
                conversation={"updated_at": now},
                messages=[said],
                **({"conversation_id": self.conversation_id} | changes),
            )
            await uow.commit()
        return opening, lease

    async def settle(self, lease: Lease) -> bool:
        end = MessageEnd(message_id=lease.message_id, values={"status": "completed", "content": "Yes."}, attempts=[])
        async with self.database.statement_by_statement() as uow:
            answer, *lost = [make_call(cost_usd=Decimal("0.01"), kind=kind) for kind in ("chat", "lost", "lost")]
            settled = await self.quotas.settle_at_once(uow, lease, answer, lost=lost, end=end, now=utc_now())
            await uow.commit()
        return settled

    async def rows(self, table: type[Any]) -> list[Any]:
        async with self.database.read_only() as uow:
            return list((await uow._session.scalars(select(table).where(table.user_id == self.user_id))).all())


@pytest.fixture
async def desk(database: Database, database_url: str, tmp_path: Path) -> Desk:
    settings = make_settings(database_url=database_url, data_dir=tmp_path, openrouter_url="http://127.0.0.1:9/api/v1")
    services = Services.build(settings)
    user = await services.auth.register(email="a@example.com", password="a long password", plan=PlanTier.PREMIUM)
    conversation = await services.conversations.create(user.id)
    await services.aclose()
    return Desk(database, QuotaService(settings=lambda: settings), user.id, conversation.id)


async def read(desk: Desk) -> Means:
    means = await desk.read()
    assert means is not None
    return means


async def test_what_was_reserved_is_seen_by_the_next_turn(desk: Desk) -> None:
    first, _ = await desk.write(await read(desk))
    means = await read(desk)

    assert first is Opening.WRITTEN
    assert (means.held.messages, means.held.tokens) == (1, SHORT.prompt_tokens + SHORT.max_tokens)
    assert means.counters is not None
    assert means.counters.messages_used == 0


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite's writers come one by one
@pytest.mark.parametrize("month_has_begun", [False, True])
async def test_of_two_turns_that_saw_the_same_means_one_is_written(desk: Desk, month_has_begun: bool) -> None:
    if month_has_begun:
        await desk.write(await read(desk))
    before = len(await desk.rows(QuotaLease))
    means = await read(desk)

    openings = [(await desk.write(means))[0] for _ in range(2)]

    assert openings == [Opening.WRITTEN, Opening.OVERTAKEN]
    assert len(await desk.rows(QuotaLease)) == len(await desk.rows(Message)) == before + 1


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite's writers come one by one
async def test_a_charge_overtakes_a_turn_that_is_opening(desk: Desk) -> None:
    _, lease = await desk.write(await read(desk))
    means = await read(desk)
    assert await desk.settle(lease)

    assert (await desk.write(means))[0] is Opening.OVERTAKEN


async def test_nothing_is_written_for_a_conversation_that_is_gone(desk: Desk) -> None:
    opening, _ = await desk.write(await read(desk), conversation_id=new_id())

    assert opening is Opening.CONVERSATION_GONE
    assert await desk.rows(QuotaLease) == await desk.rows(Message) == []


async def test_an_account_that_is_switched_off_has_no_means(desk: Desk) -> None:
    async with desk.database.unit_of_work() as uow:
        await uow._session.execute(update(User).where(User.id == desk.user_id).values(is_active=False))
        await uow.commit()

    assert await desk.read() is None


async def test_a_lease_past_its_time_holds_nothing(desk: Desk) -> None:
    await desk.write(await read(desk))
    async with desk.database.unit_of_work() as uow:
        expired = update(QuotaLease).values(expires_at=utc_now() - timedelta(seconds=1))
        await uow._session.execute(expired.where(QuotaLease.user_id == desk.user_id))
        await uow.commit()

    assert (await read(desk)).held.messages == 0


async def test_settling_at_once_charges_once_and_ends_the_message(desk: Desk) -> None:
    _, lease = await desk.write(await read(desk))

    assert [await desk.settle(lease), await desk.settle(lease)] == [True, False]

    assert [each.state for each in await desk.rows(QuotaLease)] == ["settled"]
    assert [(each.status, each.content) for each in await desk.rows(Message)] == [("completed", "Yes.")]
    assert [each.messages_used for each in await desk.rows(MonthlyUsageQuota)] == [1]
    assert len(await desk.rows(UsageEvent)) == 3
    days = {each.kind: (each.requests, each.cost_usd) for each in await desk.rows(UsageDaily)}
    assert days == {"chat": (1, Decimal("0.01")), "lost": (2, Decimal("0.02"))}


async def test_a_message_deleted_meanwhile_is_charged_and_stays_deleted(desk: Desk) -> None:
    _, lease = await desk.write(await read(desk))
    async with desk.database.unit_of_work() as uow:
        await uow.conversations.delete(desk.user_id, desk.conversation_id)
        await uow.commit()

    assert await desk.settle(lease)
    assert await desk.rows(Message) == []
    assert [each.messages_used for each in await desk.rows(MonthlyUsageQuota)] == [1]
