"""How many turns a second can be reserved and settled, on both databases: `python benchmarks/quota_leases.py`.

Twenty clients reserve and settle in turn: once each for an account of its own, once all for the same account, whose
month is one row that every turn locks. PostgreSQL is the one named by TEST_DATABASE_URL, else one from the wheel.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

from app.core.clock import utc_now
from app.core.config import Settings
from app.core.ids import new_id
from app.db.database import Database
from app.db.repositories.closings import MessageEnd
from app.db.repositories.openings import Opening
from app.domain.plans import PlanTier
from app.domain.quotas import TokenPrices, TurnAsk
from app.services.assembly import Services
from app.services.quota_service import QuotaService
from tests.integration.test_quotas import make_call
from tests.support.databases import PostgresTemplates, SQLiteTemplates, find_postgres
from tests.support.served import make_settings

CLIENTS = 20
SECONDS = 5.0
ASK = TurnAsk(100, 50, TokenPrices(Decimal("0.000001"), Decimal("0.000002")))


async def turn(database: Database, quotas: QuotaService, user_id: UUID, conversation_id: UUID) -> tuple[float, float]:
    """Seconds that one reservation and one settlement took, as a turn does them."""
    started, message_id = time.perf_counter(), new_id()
    async with database.statement_by_statement() as uow:
        opening = Opening.OVERTAKEN
        while opening is Opening.OVERTAKEN:
            now = utc_now()
            means = await uow.openings.get_means(user_id, now=now)
            assert means is not None
            lease = quotas.grant(user_id, means, ASK, message_id=message_id)
            opening = await uow.openings.write(
                means,
                lease=quotas.lease_row(lease, model="openai/gpt-4o", now=now),
                conversation_id=conversation_id,
                conversation={"updated_at": now},
                messages=[],
            )
        await uow.commit()
    reserved = time.perf_counter()
    end = MessageEnd(message_id=message_id, values={"status": "completed"}, attempts=[])
    call = make_call(cost_usd=Decimal("0.0001"))
    async with database.statement_by_statement() as uow:
        assert await quotas.settle_at_once(uow, lease, call, end=end, now=utc_now())
        await uow.commit()
    return reserved - started, time.perf_counter() - reserved


async def measure(name: str, settings: Settings, *, shared: bool) -> None:
    """Run the clients and print one row."""
    services = Services.build(settings)
    people = [
        await services.auth.register(email=f"{n}{shared}@example.com", password="long enough", plan=PlanTier.ENTERPRISE)
        for n in range(1 if shared else CLIENTS)
    ]
    talks = [await services.conversations.create(each.id) for each in people]
    quotas = QuotaService(settings=lambda: settings)
    times: list[tuple[float, float]] = []

    async def client(number: int) -> None:
        place = number % len(people)
        while time.perf_counter() < deadline:
            times.append(await turn(services.database, quotas, people[place].id, talks[place].id))

    started = time.perf_counter()
    deadline = started + SECONDS
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    elapsed = time.perf_counter() - started
    await services.aclose()
    cells = [f"{name:<11}", f"{'one account' if shared else 'own accounts':<13}", f"{2 * len(times) / elapsed:>8.0f}"]
    for position in (0, 1):
        column = sorted(each[position] * 1000 for each in times)
        cells += [f"{statistics.median(column):>9.1f}", f"{column[int(len(column) * 0.99)]:>9.1f}"]
    print(" ".join(cells), flush=True)


async def main() -> None:
    """Print the table."""
    print(f"{CLIENTS} clients, {SECONDS:.0f} s each; times in ms")
    print(f"{'database':<11} {'who':<13} {'trans./s':>8} {'res. p50':>9} {'p99':>9} {'set. p50':>9} {'p99':>9}")
    with tempfile.TemporaryDirectory() as folder:
        sqlite, postgres = SQLiteTemplates(Path(folder)), PostgresTemplates(find_postgres(f"bench-{os.getpid()}"))
        for name, templates in (("SQLite", sqlite), ("PostgreSQL", postgres)):
            for shared in (False, True):
                url = await templates.make()
                settings = make_settings(
                    database_url=url, data_dir=Path(folder), openrouter_url="http://127.0.0.1:9/api/v1"
                )
                await measure(name, settings, shared=shared)
                await templates.drop(url)


if __name__ == "__main__":
    asyncio.run(main())
