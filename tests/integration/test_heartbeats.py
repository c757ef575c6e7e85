"""Leases kept alive while their turns run."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.core.clock import utc_now
from app.db.database import Database
from app.db.models import QuotaLease
from app.services.lease_keeper import LeaseKeeper
from app.services.quota_service import QuotaService
from tests.integration.test_quotas import Bench
from tests.support.clocks import MovedClock
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio

LEASE_SECONDS = 3


@pytest.mark.parametrize("seconds_waited", [0, LEASE_SECONDS])
async def test_a_heartbeat_that_waits_too_long_brings_no_lease_back(
    database: Database, database_url: str, tmp_path: Path, seconds_waited: int
) -> None:
    bench = await Bench.open(database, database_url, tmp_path)
    settings = make_settings(
        database_url=database_url,
        data_dir=tmp_path,
        openrouter_url="http://127.0.0.1:9/api/v1",
        quota_lease_seconds=LEASE_SECONDS,
    )
    bench.quotas = QuotaService(settings=lambda: settings)
    one_at_a_time, clock = Database(lambda: database_url, lambda: 1), MovedClock()
    keeper = LeaseKeeper(settings=lambda: settings, database=one_at_a_time, quotas=bench.quotas, clock=clock)
    lease = await bench.reserve(now=utc_now())

    async def ends_at() -> object:
        async with database.read_only() as uow:
            return await uow._session.scalar(select(QuotaLease.expires_at).where(QuotaLease.id == lease.id))

    first_end = await ends_at()
    with keeper.keep(lease):
        async with one_at_a_time.unit_of_work():
            await asyncio.sleep(LEASE_SECONDS / 3 + 0.2)  # it beats, and waits
            clock.ahead = timedelta(seconds=seconds_waited)
        await asyncio.sleep(0.2)

    await keeper.aclose()
    await one_at_a_time.close()
    assert (await ends_at() != first_end) is (seconds_waited == 0)
