"""Counts requests, logins and registrations: knows plans and settings, and where the windows are kept."""

import hashlib
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from app.coordination.coordination import Coordination, coordination
from app.core.clock import utc_now
from app.core.config import Settings, get_settings
from app.core.errors import AccountGone, NotFound, TooManyRequests
from app.db.database import Database, database
from app.db.repositories.subscriptions import CurrentPlan
from app.domain.rate_limits import HOUR, QUARTER_HOUR, RatePolicy, RateStanding, requests_per_minute

PLAN_RATE_SECONDS = 5.0
"""How long a process remembers an account's rate: a new plan or override counts within this time."""
PLAN_RATES_KEPT = 10_000


class RateLimited(TooManyRequests):
    """The window of this policy is full. A refused request does not count."""

    def __init__(self, standing: RateStanding) -> None:
        policy, seconds = standing.policy, standing.retry_after
        super().__init__(
            f"At most {policy.limit} requests in {policy.window_seconds} seconds. Try again in {seconds} seconds.",
            headers={**standing.headers(), "Retry-After": str(seconds)},
            limit=policy.limit,
            window_seconds=policy.window_seconds,
            retry_after=seconds,
        )


class TooManyLoginAttempts(TooManyRequests):
    """Too many wrong passwords for this account or from this address; right ones are refused too until it is over."""

    code = "too_many_login_attempts"

    def __init__(self, standing: RateStanding) -> None:
        seconds = standing.retry_after
        super().__init__(
            f"Too many failed logins. Try again in {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
            retry_after=seconds,
        )


class RateLimiter:
    """Each ``count_`` takes one from a window or raises. None of them holds a database connection."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        coordination: Coordination,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._coordination = coordination
        self._clock = clock
        self._plan_rates: dict[UUID, tuple[int, float]] = {}

    async def count_model_request(self, user_id: UUID) -> RateStanding | None:
        """Count a request that asks a model against the plan's rate; ``None`` when limits are switched off."""
        if not self._settings().rate_limits_enabled:
            return None
        return await self._count(await self._model_policy(user_id), str(user_id))

    async def count_api_request(self, user_id: UUID) -> RateStanding | None:
        """Count any other request of an account; ``None`` when limits are switched off."""
        settings = self._settings()
        if not settings.rate_limits_enabled:
            return None
        return await self._count(RatePolicy("api", settings.api_requests_per_minute), str(user_id))

    async def model_standing(self, user_id: UUID) -> RateStanding | None:
        """What is left for requests that ask a model, without counting one."""
        if not self._settings().rate_limits_enabled:
            return None
        return (await self._ask(await self._model_policy(user_id), str(user_id), units=0))[1]

    async def count_registration(self, address: str | None) -> None:
        """Count an attempt to register from this address (``None``: not over HTTP, not counted)."""
        if address is None:
            return
        policy = RatePolicy("registrations", self._settings().registrations_per_hour_per_address, HOUR)
        await self._count(policy, _network_of(address))

    async def count_login(self, *, account: str, address: str | None) -> None:
        """Count an attempt as failed before it is tried, so that parallel guesses are counted too."""
        policies = self._login_policies(account, address)
        for index, (policy, subject) in enumerate(policies):
            accepted, standing = await self._ask(policy, subject)
            if not accepted:
                for taken, of in policies[:index]:
                    await self._coordination.windows.give_back(_key(taken, of))
                raise TooManyLoginAttempts(standing)

    async def forgive_login(self, *, account: str, address: str | None) -> None:
        """It was the right password: nothing stands against the account, and this attempt not against the address."""
        (of_account, *of_address) = self._login_policies(account, address)
        await self._coordination.windows.clear(_key(*of_account))
        for each in of_address:
            await self._coordination.windows.give_back(_key(*each))

    async def aclose(self) -> None:
        """Leave the server that processes share; a later call connects anew."""
        await self._coordination.aclose()

    def _login_policies(self, account: str, address: str | None) -> list[tuple[RatePolicy, str]]:
        settings = self._settings()
        of_account = RatePolicy("logins-account", settings.login_failures_per_account, QUARTER_HOUR)
        of_address = RatePolicy("logins-address", settings.login_failures_per_address, QUARTER_HOUR)
        # A digest: addresses of people do not belong into a store of counters.
        found = [(of_account, hashlib.sha256(account.encode(errors="backslashreplace")).hexdigest())]
        return found if address is None else [*found, (of_address, _network_of(address))]

    async def _count(self, policy: RatePolicy, subject: str) -> RateStanding:
        accepted, standing = await self._ask(policy, subject)
        if not accepted:
            raise RateLimited(standing)
        return standing

    async def _ask(self, policy: RatePolicy, subject: str, *, units: int = 1) -> tuple[bool, RateStanding]:
        taken = await self._coordination.windows.take(
            _key(policy, subject), limit=policy.limit, seconds=policy.window_seconds, units=units
        )
        return taken.accepted, RateStanding(policy, taken.remaining, taken.reset_seconds)

    async def _model_policy(self, user_id: UUID) -> RatePolicy:
        rate, good_until = self._plan_rates.get(user_id, (0, 0.0))
        now = self._clock()
        if now >= good_until:
            rate = requests_per_minute((await self._plan(user_id)).limits)
            if len(self._plan_rates) >= PLAN_RATES_KEPT:
                self._plan_rates.clear()
            self._plan_rates[user_id] = rate, now + PLAN_RATE_SECONDS
        return RatePolicy("model", rate)

    async def _plan(self, user_id: UUID) -> CurrentPlan:
        try:
            async with self._database.read_only() as uow:
                return await uow.subscriptions.require_plan(user_id, now=utc_now())
        except NotFound:
            raise AccountGone from None


def _key(policy: RatePolicy, subject: str) -> str:
    return f"{policy.name}:{policy.window_seconds}:{subject}"


def _network_of(address: str) -> str:
    """The address, or for IPv6 its /64: one household has that many addresses."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


rate_limiter = RateLimiter(settings=get_settings, database=database, coordination=coordination)
