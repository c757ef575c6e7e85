"""`wisqu ledger` and `wisqu leases` in processes of their own."""

import asyncio
import sqlite3
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from app.core.clock import utc_now
from app.core.ids import new_id
from app.domain.plans import PlanTier
from app.services.assembly import Services
from app.services.quota_service import QuotaService
from tests.integration.test_quotas import SHORT, make_call
from tests.live.test_command_line import wisqu
from tests.support.databases import prepare
from tests.support.served import make_settings


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A database with one turn that was charged, one that runs, and one whose process died."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'wisqu.db'}"
    asyncio.run(_prepared(url, tmp_path))
    return {"PATH": "", "DATA_DIR": str(tmp_path)}


async def _prepared(url: str, folder: Path) -> None:
    await prepare(url)
    settings = make_settings(database_url=url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
    services, quotas = Services.build(settings), QuotaService(settings=lambda: settings)
    user = await services.auth.register(email="a@example.com", password="long enough", plan=PlanTier.FREE)
    now = utc_now()
    async with services.database.unit_of_work() as uow:
        plan = await uow.subscriptions.require_plan(user.id, now=now)
        charged, _running, dead = [
            await quotas.reserve(uow, user.id, plan, SHORT, message_id=new_id(), model="openai/gpt-4o", now=now)
            for _ in range(3)
        ]
        await quotas.settle(uow, charged, make_call(cost_usd=Decimal("0.002")), now=now)
        await uow.quotas.extend_leases([(user.id, dead.id)], now=now, until=now - timedelta(seconds=1))
        await uow.commit()
    await services.database.close()


def spoil(environment: dict[str, str]) -> None:
    with sqlite3.connect(Path(environment["DATA_DIR"]) / "wisqu.db") as connection:
        connection.execute("UPDATE monthly_usage_quotas SET messages_used = 5")


def test_a_wrong_sum_is_named_put_right_and_gone(environment: dict[str, str]) -> None:
    clean = wisqu("ledger", "verify", environment=environment)
    spoil(environment)
    spoilt = wisqu("ledger", "verify", environment=environment)
    repaired = wisqu("ledger", "rebuild", environment=environment)
    again = wisqu("ledger", "verify", environment=environment)

    assert (clean.returncode, clean.stdout) == (0, "1 lines of 1 accounts: 0 differences, 0 bills still to come.\n")
    assert spoilt.returncode == 1
    assert "messages_used is 5, the ledger says 1" in spoilt.stdout
    assert repaired.stdout == "Accounts put right: 1.\n"
    assert again.stdout == clean.stdout


def test_held_leases_are_listed_dead_ones_too(environment: dict[str, str]) -> None:
    done = wisqu("leases", "list", environment=environment)

    *leases, count = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert count == "Held leases: 2."
    assert sorted("expired, not swept yet" in each for each in leases) == [False, True]
    assert all("1 message  150 tokens  0.000200 USD" in each for each in leases)
