"""Windows, seats and what counts in them: in memory, and shared over a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import structlog

from app.coordination import shared_store
from app.coordination.coordination import Coordination
from app.coordination.seats import MemorySeats, Seats
from app.coordination.shared import SEAT_PREFIX, WINDOW_PREFIX, SharedSeats, SharedWindows
from app.coordination.shared_store import SharedStore
from app.coordination.windows import MemoryWindows, Windows
from app.core import config
from app.core.config import ConfigurationError, Settings, load_settings
from app.db.database import Database
from app.domain.plans import PLAN_LIMITS, PlanLimits, PlanTier
from app.domain.rate_limits import RatePolicy, RateStanding, requests_per_minute
from app.services import rate_limiter as module
from app.services.rate_limiter import RateLimited, RateLimiter, TooManyLoginAttempts
from app.services.running_answers import RunningAnswers, TooManyRunningAnswers
from tests.support.redis import RedisServer
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no outage."""
    monkeypatch.setattr(shared_store, "TIMEOUT_SECONDS", 20.0)


class Watch:
    """A clock that tests move; seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def key() -> str:
    """Of this test's own: a server may be shared."""
    return uuid4().hex


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[SharedStore]:
    store = SharedStore(redis_url)
    yield store
    await store.aclose()


@pytest.fixture(params=["memory", "redis"])
def windows(request: pytest.FixtureRequest) -> Windows:
    return MemoryWindows() if request.param == "memory" else SharedWindows(request.getfixturevalue("store"))


@pytest.fixture(params=["memory", "redis"])
def seats(request: pytest.FixtureRequest) -> Seats:
    return MemorySeats() if request.param == "memory" else SharedSeats(request.getfixturevalue("store"))


class TestWindows:
    async def test_so_many_units_fit_and_no_more(self, windows: Windows, key: str) -> None:
        taken = [await windows.take(key, limit=3, seconds=60) for _ in range(5)]

        assert [each.accepted for each in taken] == [True, True, True, False, False]
        assert [each.remaining for each in taken] == [2, 1, 0, 0, 0]
        assert all(59 < each.reset_seconds <= 60 for each in taken)

    async def test_of_many_at_once_exactly_the_limit_is_accepted(self, windows: Windows, key: str) -> None:
        taken = await asyncio.gather(*(windows.take(key, limit=7, seconds=60) for _ in range(100)))

        assert sum(each.accepted for each in taken) == 7

    async def test_keys_do_not_know_each_other(self, windows: Windows, key: str) -> None:
        await windows.take(key, limit=1, seconds=60)

        assert (await windows.take(key + "x", limit=1, seconds=60)).accepted

    async def test_looking_takes_nothing(self, windows: Windows, key: str) -> None:
        looks = [await windows.take(key, limit=1, seconds=60, units=0) for _ in range(3)]

        assert looks == [(True, 1, 0.0)] * 3
        assert (await windows.take(key, limit=1, seconds=60)).accepted
        assert (await windows.take(key, limit=1, seconds=60, units=0)).remaining == 0

    async def test_what_is_given_back_can_be_taken_again(self, windows: Windows, key: str) -> None:
        await windows.give_back(key)
        for _ in range(2):
            await windows.take(key, limit=2, seconds=60)
        await windows.give_back(key)

        assert [(await windows.take(key, limit=2, seconds=60)).accepted for _ in range(2)] == [True, False]

    async def test_a_cleared_window_is_empty(self, windows: Windows, key: str) -> None:
        for _ in range(2):
            await windows.take(key, limit=2, seconds=60)
        await windows.clear(key)

        assert (await windows.take(key, limit=2, seconds=60)).remaining == 1

    async def test_a_lowered_limit_counts_what_was_taken_before(self, windows: Windows, key: str) -> None:
        for _ in range(5):
            await windows.take(key, limit=50, seconds=60)

        assert (await windows.take(key, limit=2, seconds=60))[:2] == (False, 0)

    async def test_the_window_moves_with_time(self, windows: Windows, key: str) -> None:
        assert (await windows.take(key, limit=2, seconds=1)).accepted
        await asyncio.sleep(0.6)
        assert (await windows.take(key, limit=2, seconds=1)).accepted
        assert not (await windows.take(key, limit=2, seconds=1)).accepted
        await asyncio.sleep(0.5)

        assert [(await windows.take(key, limit=2, seconds=1)).accepted for _ in range(2)] == [True, False]


class TestMemoryWindows:
    async def test_each_unit_leaves_on_its_own_second(self, watch: Watch) -> None:
        windows = MemoryWindows(watch)
        for watch.now in (0.0, 10.0, 20.0):
            await windows.take("k", limit=3, seconds=60)

        watch.now = 59.9
        refused = await windows.take("k", limit=3, seconds=60)
        assert (refused.accepted, refused.reset_seconds) == (False, pytest.approx(0.1))
        watch.now = 60.0
        assert [(await windows.take("k", limit=3, seconds=60)).accepted for _ in range(2)] == [True, False]

    async def test_under_a_lowered_limit_one_learns_when_the_next_one_fits(self, watch: Watch) -> None:
        windows = MemoryWindows(watch)
        for watch.now in (0.0, 10.0, 20.0):
            await windows.take("k", limit=3, seconds=60)

        refused = await windows.take("k", limit=1, seconds=60)
        watch.now += refused.reset_seconds
        assert (await windows.take("k", limit=1, seconds=60)).accepted

    async def test_keys_that_nobody_asks_any_more_are_forgotten(self, watch: Watch) -> None:
        windows = MemoryWindows(watch)
        for number in range(5_000):
            watch.now += 1
            await windows.take(str(number), limit=1, seconds=60)

        assert len(windows._entries) < 2_000


class TestSharedWindows:
    async def test_two_processes_share_one_window(self, redis_url: str, key: str) -> None:
        stores = [SharedStore(redis_url) for _ in range(2)]
        both = [SharedWindows(each) for each in stores]
        taken = await asyncio.gather(*(both[turn % 2].take(key, limit=11, seconds=60) for turn in range(60)))
        for each in stores:
            await each.aclose()

        assert sum(each.accepted for each in taken) == 11

    async def test_under_a_lowered_limit_one_learns_when_the_next_one_fits(self, store: SharedStore, key: str) -> None:
        windows = SharedWindows(store)
        for _ in range(3):
            await windows.take(key, limit=3, seconds=60)
            await asyncio.sleep(0.05)

        refused = await windows.take(key, limit=1, seconds=60)
        oldest = await windows.take(key, limit=3, seconds=60, units=0)
        assert refused.reset_seconds > oldest.reset_seconds + 0.09, "the newest has to leave, not the oldest"

    async def test_the_server_forgets_a_window_nobody_asks_any_more(self, store: SharedStore, key: str) -> None:
        await SharedWindows(store).take(key, limit=3, seconds=60)

        assert 0 < await store.command("TTL", WINDOW_PREFIX + key) <= 60


@asynccontextmanager
async def store_of(server: RedisServer, watch: Callable[[], float]) -> AsyncIterator[SharedStore]:
    store = SharedStore(server.url, clock=watch)
    yield store
    await store.aclose()


class TestAnOutage:
    async def test_each_process_counts_for_itself_while_the_server_is_away(
        self, redis_server: RedisServer, watch: Watch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = structlog.testing.CapturingLogger()
        monkeypatch.setattr(shared_store, "log", log)
        async with store_of(redis_server, watch) as store:
            windows = SharedWindows(store)
            await windows.take("k", limit=2, seconds=60)
            redis_server.stop()
            taken = [await windows.take("k", limit=2, seconds=60) for _ in range(3)]
            await windows.clear("k")
            after = await windows.take("k", limit=2, seconds=60)

        assert [each.accepted for each in taken] == [True, True, False]
        assert after.accepted
        warned = [(each.method_name, each.args) for each in log.calls]
        assert warned == [("warning", ("coordination.unavailable",))], "one warning, then a pause"
        assert redis_server.url not in str(log.calls)

    async def test_a_server_that_comes_back_is_used_again(self, redis_server: RedisServer, watch: Watch) -> None:
        async with store_of(redis_server, watch) as store:
            windows = SharedWindows(store)
            redis_server.stop()
            await windows.take("k", limit=1, seconds=60)
            redis_server.start()
            assert not (await windows.take("k", limit=1, seconds=60)).accepted, "the pause is not over"
            watch.now += shared_store.PAUSE_SECONDS

            assert (await windows.take("k", limit=1, seconds=60)).accepted
            assert await store.command("EXISTS", WINDOW_PREFIX + "k") == 1

    async def test_seats_are_given_while_the_server_is_away(self, redis_server: RedisServer, watch: Watch) -> None:
        async with store_of(redis_server, watch) as store:
            seats = SharedSeats(store)
            leave = await seats.take("k", limit=1, seconds=60)
            redis_server.stop()
            assert leave is not None
            leave()

            assert await seats.take("k", limit=1, seconds=60) is not None

    async def test_a_server_that_hangs_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_store, "TIMEOUT_SECONDS", 0.05)

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()  # until the other end gives up
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            store = SharedStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            asking = asyncio.create_task(SharedWindows(store).take("k", limit=1, seconds=60))
            await asyncio.wait((asking,), timeout=10)
            was_answered = asking.done()
            asking.cancel()
            await store.aclose()

        assert was_answered, "whoever asks waits for as long as the server hangs"
        assert asking.result().accepted


class TestSeats:
    async def test_so_many_seats_and_no_more(self, seats: Seats, key: str) -> None:
        taken = await asyncio.gather(*(seats.take(key, limit=3, seconds=60) for _ in range(20)))

        assert sum(each is not None for each in taken) == 3

    async def test_a_seat_that_is_left_can_be_taken_again(self, seats: Seats, key: str) -> None:
        leave = await seats.take(key, limit=1, seconds=60)
        assert leave is not None
        assert await seats.take(key, limit=1, seconds=60) is None
        leave()
        await asyncio.sleep(0.05)

        assert await seats.take(key, limit=1, seconds=60) is not None

    async def test_memory_keeps_nothing_of_who_has_left(self) -> None:
        seats = MemorySeats()
        leave = await seats.take("k", limit=1, seconds=60)
        assert leave is not None
        leave()
        await seats.take("other", limit=0, seconds=60)

        assert seats._taken == {}

    async def test_seats_of_a_process_that_died_become_free(self, store: SharedStore, key: str) -> None:
        seats = SharedSeats(store)
        assert await seats.take(key, limit=1, seconds=0.1) is not None
        assert await seats.take(key, limit=1, seconds=0.1) is None
        await asyncio.sleep(0.12)

        assert await seats.take(key, limit=1, seconds=60) is not None
        assert 0 < await store.command("TTL", SEAT_PREFIX + key) <= 60


class TestStanding:
    def test_the_headers_are_those_of_the_draft(self) -> None:
        standing = RateStanding(RatePolicy("model", 5), remaining=4, reset_seconds=59.2)

        assert standing.headers() == {"RateLimit-Policy": '"model";q=5;w=60', "RateLimit": '"model";r=4;t=60'}

    @pytest.mark.parametrize(("seconds", "told"), [(0.0, 1), (0.3, 1), (1.0, 1), (59.01, 60)])
    def test_retrying_after_the_told_seconds_is_never_too_early(self, seconds: float, told: int) -> None:
        assert RateStanding(RatePolicy("model", 5), 0, seconds).retry_after == told

    def test_every_plan_has_a_rate(self) -> None:
        assert [requests_per_minute(each) for each in PLAN_LIMITS] == [5, 50, 1_000, 1_000]


class Plans:
    """Stands in for the database: which plan everybody is on, and how often that was asked."""

    def __init__(self, limits: PlanLimits) -> None:
        self.limits = limits
        self.reads = 0
        self.open = 0

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[Any]:
        self.open += 1
        yield SimpleNamespace(subscriptions=self)
        self.open -= 1

    async def require_plan(self, _user_id: UUID, *, now: datetime) -> Any:
        self.reads += 1
        return SimpleNamespace(limits=self.limits)


class Limits:
    """A limiter over stand-ins; ``settings`` and ``plans`` may be changed as a test goes."""

    def __init__(self, watch: Watch, tmp_path: Any) -> None:
        settings = make_settings(database_url="", data_dir=tmp_path, openrouter_url="http://127.0.0.1:9/api/v1")
        self.settings = settings.model_copy(update={"rate_limits_enabled": True})
        self.plans = Plans(PLAN_LIMITS[0])
        self.coordination = Coordination(lambda: None, clock=watch)
        self.limiter = RateLimiter(
            settings=self.read, database=cast(Database, self.plans), coordination=self.coordination, clock=watch
        )

    def read(self) -> Settings:
        return self.settings

    def set(self, **changes: Any) -> None:
        self.settings = self.settings.model_copy(update=changes)


@pytest.fixture
def limits(watch: Watch, tmp_path: Any) -> Limits:
    return Limits(watch, tmp_path)


class TestRequests:
    @pytest.mark.parametrize("plan", PLAN_LIMITS, ids=lambda each: each.plan.value)
    async def test_a_minute_holds_what_the_plan_says(self, limits: Limits, watch: Watch, plan: PlanLimits) -> None:
        limits.plans.limits, user_id, rate = plan, uuid4(), requests_per_minute(plan)
        for _ in range(rate):
            await limits.limiter.count_model_request(user_id)
        watch.now += 12.5

        with pytest.raises(RateLimited) as refusal:
            await limits.limiter.count_model_request(user_id)
        assert refusal.value.body()["error"] == "rate_limited"
        assert refusal.value.fields == {"limit": rate, "window_seconds": 60, "retry_after": 48}
        assert refusal.value.headers["Retry-After"] == "48"
        watch.now += 48
        await limits.limiter.count_model_request(user_id)

    async def test_a_refused_request_does_not_count(self, limits: Limits, watch: Watch) -> None:
        user_id = uuid4()
        for _ in range(5):
            await limits.limiter.count_model_request(user_id)
        watch.now += 59
        for _ in range(10):
            with pytest.raises(RateLimited):
                await limits.limiter.count_model_request(user_id)
        watch.now += 1

        standing = await limits.limiter.count_model_request(user_id)
        assert standing is not None
        assert standing.remaining == 4

    async def test_other_requests_have_a_window_of_their_own(self, limits: Limits) -> None:
        limits.set(api_requests_per_minute=2)
        user_id = uuid4()
        for _ in range(2):
            await limits.limiter.count_api_request(user_id)
        with pytest.raises(RateLimited):
            await limits.limiter.count_api_request(user_id)

        standing = await limits.limiter.count_model_request(user_id)
        assert standing is not None
        assert standing.headers()["RateLimit"] == '"model";r=4;t=60'

    async def test_the_plan_is_read_once_in_some_seconds_and_nothing_is_held(
        self, limits: Limits, watch: Watch
    ) -> None:
        user_id = uuid4()
        for _ in range(3):
            await limits.limiter.count_model_request(user_id)
        assert (limits.plans.reads, limits.plans.open) == (1, 0)

        watch.now += module.PLAN_RATE_SECONDS
        await limits.limiter.count_model_request(user_id)
        assert limits.plans.reads == 2

    async def test_a_new_plan_counts_within_seconds_and_keeps_what_was_asked(
        self, limits: Limits, watch: Watch
    ) -> None:
        user_id = uuid4()
        for _ in range(5):
            await limits.limiter.count_model_request(user_id)
        limits.plans.limits = replace(PLAN_LIMITS[1], plan=PlanTier.PREMIUM)
        watch.now += module.PLAN_RATE_SECONDS

        standing = await limits.limiter.count_model_request(user_id)
        assert standing is not None
        assert (standing.policy.limit, standing.remaining) == (50, 44)

    async def test_remembering_plans_has_a_bound(self, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "PLAN_RATES_KEPT", 10)
        for _ in range(35):
            await limits.limiter.count_model_request(uuid4())

        assert len(limits.limiter._plan_rates) <= 10

    async def test_switched_off_nothing_is_counted_or_read(self, limits: Limits) -> None:
        limits.set(rate_limits_enabled=False, api_requests_per_minute=1)
        user_id = uuid4()
        for _ in range(10):
            assert await limits.limiter.count_model_request(user_id) is None
            assert await limits.limiter.count_api_request(user_id) is None
        assert await limits.limiter.model_standing(user_id) is None

        assert limits.plans.reads == 0


class TestLogins:
    async def fail(self, limits: Limits, account: str, address: str | None) -> None:
        await limits.limiter.count_login(account=account, address=address)

    async def test_an_account_has_so_many_failures(self, limits: Limits, watch: Watch) -> None:
        limits.set(login_failures_per_account=3)
        for number in range(3):
            await self.fail(limits, "a@example.com", f"198.51.100.{number}")

        with pytest.raises(TooManyLoginAttempts) as refusal:
            await self.fail(limits, "a@example.com", "198.51.100.9")
        assert refusal.value.fields == {"retry_after": 900}
        await self.fail(limits, "b@example.com", "198.51.100.9")
        watch.now += 900
        await self.fail(limits, "a@example.com", "198.51.100.9")

    async def test_an_address_has_so_many_failures_whatever_the_account(self, limits: Limits) -> None:
        limits.set(login_failures_per_address=3)
        for number in range(3):
            await self.fail(limits, f"{number}@example.com", "198.51.100.1")

        with pytest.raises(TooManyLoginAttempts):
            await self.fail(limits, "new@example.com", "198.51.100.1")
        await self.fail(limits, "new@example.com", "198.51.100.2")

    async def test_an_attempt_refused_for_its_address_does_not_count_against_the_account(self, limits: Limits) -> None:
        limits.set(login_failures_per_address=1, login_failures_per_account=1)
        await self.fail(limits, "somebody@example.com", "198.51.100.1")
        with pytest.raises(TooManyLoginAttempts):
            await self.fail(limits, "victim@example.com", "198.51.100.1")

        await self.fail(limits, "victim@example.com", "198.51.100.2")

    async def test_the_right_password_clears_the_account_and_its_own_attempt_only(self, limits: Limits) -> None:
        limits.set(login_failures_per_address=4, login_failures_per_account=3)
        for _ in range(3):
            await self.fail(limits, "a@example.com", "198.51.100.1")
        await limits.limiter.forgive_login(account="a@example.com", address="198.51.100.1")

        for _ in range(2):
            await self.fail(limits, "a@example.com", "198.51.100.1")
        with pytest.raises(TooManyLoginAttempts):
            await self.fail(limits, "a@example.com", "198.51.100.1")

    @pytest.mark.parametrize(
        ("first", "second", "is_one"),
        [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
            ("::ffff:198.51.100.1", "198.51.100.1", True),
            ("fe80::1%eth0", "fe80::1", True),
            ("198.51.100.1", "198.51.100.2", False),
            ("testclient", "testclient", True),
        ],
    )
    async def test_a_household_is_one_address(self, limits: Limits, first: str, second: str, is_one: bool) -> None:
        limits.set(login_failures_per_address=1)
        await self.fail(limits, "a@example.com", first)
        refused = False
        try:
            await self.fail(limits, "b@example.com", second)
        except TooManyLoginAttempts:
            refused = True

        assert refused is is_one

    async def test_addresses_of_people_are_not_kept_in_words(self, limits: Limits) -> None:
        await self.fail(limits, "amina@example.com", None)

        assert "amina" not in str(cast(Any, limits.coordination.windows)._entries)

    async def test_registrations_are_counted_by_address(self, limits: Limits) -> None:
        limits.set(registrations_per_hour_per_address=2)
        for _ in range(2):
            await limits.limiter.count_registration("198.51.100.1")
        with pytest.raises(RateLimited) as refusal:
            await limits.limiter.count_registration("198.51.100.1")

        assert refusal.value.fields == {"limit": 2, "window_seconds": 3_600, "retry_after": 3_600}
        await limits.limiter.count_registration("198.51.100.2")
        await limits.limiter.count_registration(None)


class TestRunningAnswers:
    async def test_a_seat_is_given_up_with_the_request_unless_an_answer_has_it(self, limits: Limits) -> None:
        limits.set(max_running_answers_per_user=1)
        running = RunningAnswers(settings=limits.read, coordination=limits.coordination)
        user_id = uuid4()
        with_request = await running.take(user_id)
        with_request.close()
        with_answer = await running.take(user_id)
        leave = with_answer.hand_over()
        with_answer.close()

        with pytest.raises(TooManyRunningAnswers) as refusal:
            await running.take(user_id)
        assert (refusal.value.status_code, refusal.value.fields) == (429, {"limit": 1})
        await running.take(uuid4())
        leave()
        await running.take(user_id)


class TestRedisUrl:
    @pytest.mark.parametrize("url", ["redis://:hunter22@h:6379/0", "rediss://h", "valkey://h", "unix:///run/redis"])
    def test_it_is_taken_and_never_shown(self, url: str) -> None:
        settings = load_settings(_env_file=None, redis_url=url)

        assert settings.resolved_redis_url == url
        assert url not in repr(settings)
        assert url not in str(settings.model_dump())

    def test_empty_means_that_each_process_counts_for_itself(self) -> None:
        assert load_settings(_env_file=None, redis_url=" ").resolved_redis_url is None

    def test_a_wrong_one_is_refused_without_being_repeated(self) -> None:
        with pytest.raises(ConfigurationError, match="REDIS_URL: use redis://") as refusal:
            load_settings(_env_file=None, redis_url="http://:hunter22@h")
        assert "hunter22" not in str(refusal.value)

    def test_without_its_package_the_start_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(config, "find_spec", lambda _name: None)
        with pytest.raises(ConfigurationError, match="REDIS_URL: needs the package valkey"):
            load_settings(_env_file=None, redis_url="redis://h")
