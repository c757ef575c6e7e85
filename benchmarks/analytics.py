"""How long charts take over a long history, on both databases: `python benchmarks/analytics.py`.

MESSAGES (default 1,000,000) chat turns of 50,000 accounts over 90 days are loaded in bulk; then each chart is read
20 times. With GROWTH (default 1) there are that many times as many in the end, and all charts are read again. Last,
what the sums cost: settling with and without them. PostgreSQL is the one named by TEST_DATABASE_URL, else one
from the wheel.
"""
# ruff: noqa: S608  (all that is put into statements stands in this file)

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

from sqlalchemy import insert, text

from app.core.clock import utc_now
from app.db.database import Database
from app.db.models import Subscription, User
from app.domain.analytics import Filters
from app.domain.audit import Actor, ActorKind
from app.domain.ledger import USAGE
from app.domain.plans import PlanTier
from app.domain.principal import Role
from app.services.analytics_service import AnalyticsService, month_begin
from app.services.openrouter_service import OpenRouterService
from app.services.quota_service import QuotaService
from tests.integration.test_rollups import TURN, House
from tests.support.databases import KINDS, PostgresTemplates, SQLiteTemplates, find_postgres
from tests.support.served import make_settings

MESSAGES = int(os.environ.get("MESSAGES", "1000000"))
GROWTH = int(os.environ.get("GROWTH", "1"))
ACCOUNTS = 50_000
DAYS = 90
READS = 20
BATCH = 500_000
PLANS = (PlanTier.FREE, PlanTier.FREE, PlanTier.FREE, PlanTier.PREMIUM, PlanTier.UNLIMITED)
LOOKER = Actor(ActorKind.CLI)


def numbers(is_sqlite: bool) -> str:
    if is_sqlite:
        return "WITH RECURSIVE s(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM s WHERE n < :last) "
    return "WITH s AS (SELECT generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) "


def pieces(is_sqlite: bool) -> dict[str, str]:
    owner, seconds = f"(1 + (n * 7919) % {ACCOUNTS})", f"((n * 104729) % {DAYS * 86_400})"
    plan = f"CASE {owner} % 5 " + " ".join(f"WHEN {i} THEN '{p.value}'" for i, p in enumerate(PLANS)) + " END"
    if is_sqlite:
        uuid = {name: f"printf('%032x', {value})" for name, value in (("user", owner), ("id", "n"))}
        at = f"datetime(:now, '-' || {seconds} || ' seconds') || '.000000'"
        usd, yes, no = "2000000000", "1", "0"
    else:
        uuid = {name: f"CAST(lpad(to_hex({value}), 32, '0') AS uuid)" for name, value in (("user", owner), ("id", "n"))}
        at = f"CAST(:now AS timestamptz) - {seconds} * interval '1 second'"
        usd, yes, no = "0.002", "true", "false"
    model = "'vendor/model-' || (n % 5)"
    return uuid | {"plan": plan, "at": at, "model": model, "usd": usd, "yes": yes, "no": no}


async def load(database: Database, first: int, last: int, now: Any) -> None:
    """Ledger lines and facts of turns ``first`` to ``last``."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    p, series = pieces(is_sqlite), numbers(is_sqlite)
    events = (
        "INSERT INTO usage_events (user_id, id, attempt_id, kind, plan, model, period_start, created_at, messages,"
        " images, prompt_tokens, completion_tokens, cached_tokens_read, cached_tokens_write, cost_usd,"
        f" cache_discount_usd) {series} SELECT {p['user']}, {p['id']}, {p['id']}, 'chat', {p['plan']}, {p['model']},"
        f" {p['at']}, {p['at']}, 1, 0, 1000 + n % 500, 200, n % 1000, 0, {p['usd']}, 0 FROM s"
    )
    facts = (
        "INSERT INTO answer_facts (user_id, id, ended_at, plan, model, status, begins_conversation, is_truncated,"
        f" fallback_used, cache_outcome, first_token_ms, latency_ms) {series} SELECT {p['user']}, {p['id']},"
        f" {p['at']}, {p['plan']}, {p['model']}, CASE n % 50 WHEN 0 THEN 'failed' ELSE 'completed' END, {p['no']},"
        f" {p['no']}, {p['no']}, CASE n % 3 WHEN 0 THEN 'hit' WHEN 1 THEN 'ttl_expired' ELSE 'first_request' END,"
        " 200 + n % 3000, 1000 + n % 20000 FROM s"
    )
    stamp = now.strftime("%Y-%m-%d %H:%M:%S") if is_sqlite else now
    for start in range(first, last + 1, BATCH):
        end = min(start + BATCH - 1, last)
        async with database.unit_of_work() as uow:
            for statement in (events, facts):
                await uow._connection.execute(text(statement), {"first": start, "last": end, "now": stamp})
            await uow.commit()


async def add_up(database: Database) -> None:
    """All sums anew, by the database."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    day = "date(created_at)" if is_sqlite else "CAST(created_at AT TIME ZONE 'UTC' AS date)"
    month = "date(day, 'start of month')" if is_sqlite else "CAST(date_trunc('month', day) AS date)"
    bit = (
        "(1 << (CAST(strftime('%d', day) AS integer) - 1))" if is_sqlite else "(1 << (extract(day FROM day)::int - 1))"
    )
    sums = ", ".join(f"sum({name})" for name in USAGE if name != "requests")
    kept = ", ".join(USAGE)
    async with database.unit_of_work() as uow:
        run = uow._connection.execute
        await run(text("DELETE FROM usage_daily"))
        await run(text("DELETE FROM usage_monthly"))
        await run(
            text(
                f"INSERT INTO usage_daily (user_id, day, model, plan, kind, {kept}) SELECT user_id, {day}, model, plan,"
                f" kind, count(*), {sums} FROM usage_events GROUP BY 1, 2, 3, 4, 5"
            )
        )
        by_day = ", ".join(f"sum({name}) AS {name}" for name in USAGE)
        totals = ", ".join(f"sum({name})" for name in USAGE)
        await run(
            text(
                f"INSERT INTO usage_monthly (user_id, month, plan, active_days, {kept}) SELECT user_id, {month}, plan,"
                f" sum({bit}), {totals} FROM (SELECT user_id, day, plan, {by_day} FROM usage_daily GROUP BY 1, 2, 3)"
                " AS d GROUP BY 1, 2, 3"
            )
        )
        await uow.rollups.rebuild()
        await uow.commit()
    if not is_sqlite:
        async with database.statement_by_statement() as uow:
            await uow._connection.execute(text("VACUUM ANALYZE"))
            await uow.commit()


async def settle_in(database: Database, now: Any) -> None:
    people = [
        {
            "id": UUID(int=number),
            "email": f"{number}@example.com",
            "password_hash": "x",
            "role": Role.USER,
            "is_active": True,
            "created_at": now - timedelta(days=200),
            "updated_at": now,
        }
        for number in range(1, ACCOUNTS + 1)
    ]
    plans = [
        {
            "user_id": each["id"],
            "id": each["id"],
            "plan": PLANS[each["id"].int % 5],  # type: ignore[attr-defined]
            "plan_version": 1,
            "status": "active",
            "anchor_at": each["created_at"],
            "created_at": each["created_at"],
            "updated_at": now,
        }
        for each in people
    ]
    async with database.unit_of_work() as uow:
        await uow._session.execute(insert(User), people)
        await uow._session.execute(insert(Subscription), plans)
        await uow.commit()


def charts(analytics: AnalyticsService) -> dict[str, Callable[[], Awaitable[Any]]]:
    month = analytics.filters()
    quarter = analytics.filters(first=month.days.last - timedelta(days=DAYS - 1), time_zone="Asia/Tehran")
    whole = analytics.filters(default_first=month_begin)
    model: Filters = replace(month, model="vendor/model-1")
    return {
        "system-stats, 30 days": lambda: analytics.system_stats(month),
        "plan-distribution, 30 days": lambda: analytics.plan_distribution(month),
        "usage-trends, 30 days": lambda: analytics.usage_trends(month, "day", None),
        "usage-trends, 90 days, by model": lambda: analytics.usage_trends(quarter, "day", "model"),
        "usage-trends, months": lambda: analytics.usage_trends(quarter, "month", None),
        "top-users, this month": lambda: analytics.top_users(LOOKER, whole, by="cost", limit=20),
        "top-users, any 30 days": lambda: analytics.top_users(LOOKER, month, by="cost", limit=20),
        "top-users, one model": lambda: analytics.top_users(LOOKER, model, by="cost", limit=20),
        "model-usage, 30 days": lambda: analytics.model_usage(month),
        "cache-performance, 90 days": lambda: analytics.cache_performance(quarter, "model"),
    }


async def measure(analytics: AnalyticsService) -> dict[str, float]:
    """The 95th percentile of each chart, in ms."""
    found = {}
    for name, read in charts(analytics).items():
        await read()
        times = []
        for _ in range(READS):
            started = time.perf_counter()
            await read()
            times.append(1000 * (time.perf_counter() - started))
        found[name] = statistics.quantiles(times, n=20)[-1]
    return found


async def price_of_sums(database: Database, url: str, folder: Path) -> None:
    """What the sums add to a settlement: time, and on PostgreSQL bytes of its log."""
    house = await House.open(database, url, folder)
    for is_tracking in (True, False):
        made = make_settings(
            database_url=url,
            data_dir=folder,
            openrouter_url="http://127.0.0.1:9/api/v1",
            usage_tracking_enabled=is_tracking,
        )
        house.quotas = QuotaService(settings=lambda made=made: made)
        begun, log_begun = time.perf_counter(), await log_position(database)
        for number in range(400):
            await house.end(replace(TURN, person=number % 2, hours=0))
        seconds, log = time.perf_counter() - begun, await log_position(database) - log_begun
        state = "on" if is_tracking else "off"
        print(f"  reserve and settle, sums {state}: {1000 * seconds / 400:.2f} ms, log {log // 400} bytes")


async def log_position(database: Database) -> int:
    if database.engine.dialect.name == "sqlite":
        return 0
    async with database.read_only() as uow:
        where = text("SELECT CAST(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS bigint)")
        return int((await uow._connection.execute(where)).scalar_one())


async def bench(kind: str, url: str, folder: Path) -> None:
    database = Database(lambda: url)
    made = make_settings(database_url=url, data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1")
    analytics = AnalyticsService(database=database, openrouter=OpenRouterService(settings=lambda: made))
    now = utc_now()
    await settle_in(database, now)
    results = []
    sizes = [MESSAGES] if GROWTH == 1 else [MESSAGES, MESSAGES * GROWTH]
    done = 0
    for size in sizes:
        started = time.perf_counter()
        await load(database, done + 1, size, now)
        done = size
        loaded = time.perf_counter()
        await add_up(database)
        summed = time.perf_counter() - loaded
        print(f"{kind}: {size:,} turns loaded in {loaded - started:.0f} s, added up in {summed:.0f} s")
        results.append(await measure(analytics))
    for name in results[0]:
        times = "  ".join(f"{each[name]:8.1f} ms" for each in results)
        growth = f"  x{results[-1][name] / results[0][name]:.2f}" if len(results) > 1 else ""
        print(f"  {name:34}{times}{growth}", flush=True)
    await price_of_sums(database, url, folder)
    await database.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            templates: Any = (
                SQLiteTemplates(Path(folder))
                if kind == "sqlite"
                else PostgresTemplates(find_postgres(f"bench-{os.getpid()}"))
            )
            url = await templates.make()
            try:
                await bench(kind, url, Path(folder))
            finally:
                await templates.drop(url)


if __name__ == "__main__":
    asyncio.run(main())
