"""Verifies and rebuilds what follows from the ledger, account by account."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import UUID

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.db.database import Database, database
from app.db.models import QuotaLease
from app.db.unit_of_work import UnitOfWork
from app.domain.ledger import Difference, compare, project

BATCH = 500


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what is wrong. Bills still to come are no error: their lines are not written yet."""

    accounts: int
    lines: int
    differences: tuple[Difference, ...]
    bills_to_come: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many accounts were put right, and whether the house's sums were."""

    accounts: int
    is_house: bool


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease of a running turn; ``is_expired`` when its process is dead and nobody has swept it yet."""

    lease: QuotaLease
    is_expired: bool


class LedgerService:
    """Use cases of `wisqu ledger` and `wisqu leases`."""

    def __init__(self, *, settings: Callable[[], Settings], database: Database, clock: Clock = utc_now) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock

    async def verify(self) -> Verification:
        """Recompute every sum from the lines and facts, and compare with what is stored. Changes nothing."""
        accounts = lines = 0
        differences: list[Difference] = []
        async for user_id in self._users():
            async with self._database.snapshot() as uow:
                found, count = await self._differences(uow, user_id)
            accounts, lines = accounts + 1, lines + count
            differences += found
        differences += await self._house_differences()
        async with self._database.read_only() as uow:
            bills = await uow.bills.count_unbilled()
        return Verification(accounts, lines, tuple(differences), bills)

    async def rebuild(self) -> Rebuilt:
        """Write what is wrong anew from the lines and facts. Safe while turns run: those that end wait for it."""
        repaired = 0
        async for user_id in self._users():
            async with self._database.unit_of_work() as uow:
                months = await uow.ledger.get_months(user_id, lock=True)
                found, _ = await self._differences(uow, user_id)
                if not found:
                    continue
                projection = project(await uow.ledger.list_lines(user_id))
                for key in months:
                    await uow.ledger.rewrite_month(key, projection.months.get(key, {}))
                if self._settings().usage_tracking_enabled:
                    await uow.ledger.rewrite_sums(user_id, projection)
                await uow.commit()
            repaired += 1
        is_wrong = bool(await self._house_differences())
        if is_wrong:
            async with self._database.unit_of_work() as uow:
                await uow.rollups.rebuild()
                await uow.commit()
        return Rebuilt(repaired, is_wrong)

    async def list_leases(self, *, limit: int = 1_000) -> list[HeldLease]:
        """The leases that are held now."""
        now = self._clock()
        async with self._database.read_only() as uow:
            return [HeldLease(each, each.expires_at <= now) for each in await uow.quotas.list_held(limit=limit)]

    async def aclose(self) -> None:
        """Close the database connections; a later call opens them anew."""
        await self._database.close()

    async def _differences(self, uow: UnitOfWork, user_id: UUID) -> tuple[list[Difference], int]:
        lines = await uow.ledger.list_lines(user_id)
        projection = project(lines)
        found = compare("monthly_usage_quotas", await uow.ledger.get_months(user_id), projection.months)
        if self._settings().usage_tracking_enabled:
            found += compare("usage_daily", await uow.ledger.get_days(user_id), projection.days)
            found += compare("usage_monthly", await uow.ledger.get_calendar(user_id), projection.calendar)
        return found, len(lines)

    async def _house_differences(self) -> list[Difference]:
        if not self._settings().usage_tracking_enabled:
            return []
        async with self._database.snapshot() as uow:
            return [
                *compare("system_usage", *(await uow.rollups.compare_system())),
                *compare("answer_tallies", *(await uow.rollups.compare_tallies())),
            ]

    async def _users(self) -> AsyncIterator[UUID]:
        after: UUID | None = None
        while True:
            async with self._database.read_only() as uow:
                batch = await uow.ledger.list_users(after=after, limit=BATCH)
            for user_id in batch:
                yield user_id
            if len(batch) < BATCH:
                return
            after = batch[-1]


ledger_service = LedgerService(settings=get_settings, database=database)
