"""Rate limits over real HTTP: by plan, by account and address, in memory and over one Redis that two apps share."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import event

from app.coordination import shared_store
from app.coordination.coordination import Coordination
from app.domain.plans import PlanTier
from app.domain.rate_limits import MINUTE
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import PASSWORD, Person
from tests.support.redis import RedisServer
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no outage: each app would count for itself, and counts here are exact."""
    monkeypatch.setattr(shared_store, "TIMEOUT_SECONDS", 20.0)


class Watch:
    """A clock that tests move; seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def by_hand(app: ServedApp) -> Watch:
    """Let a test move the time of an app that counts in memory."""
    watch = Watch()
    assert isinstance(app.services.coordination, Coordination)
    app.services.coordination._clock = watch
    return watch


@pytest.fixture(params=["memory", "redis"])
def shared(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings under which requests are counted, in each place that can do it."""
    url = None if request.param == "memory" else request.getfixturevalue("redis_url")
    return {"rate_limits_enabled": True, "redis_url": url}


def some_address() -> str:
    """An address nobody else in the run has."""
    return f"198.18.{random.randrange(256)}.{random.randrange(256)}"  # noqa: S311  (no secret)


async def login(app: ServedApp, email: str, password: str, address: str) -> httpx2.Response:
    """Log in as if from elsewhere: uvicorn believes proxies on the loopback address."""
    async with app.client(headers={"X-Forwarded-For": address}) as http:
        return await http.post("/api/v1/auth/login", data={"username": email, "password": password})


async def register(app: ServedApp, address: str) -> httpx2.Response:
    body = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    async with app.client(headers={"X-Forwarded-For": address}) as http:
        return await http.post("/api/v1/auth/register", json=body)


def assert_rate_limited(answer: httpx2.Response, *, limit: int, seconds: int = MINUTE) -> None:
    assert answer.status_code == 429, answer.text
    body = answer.json()
    assert set(body) == {"error", "detail", "limit", "window_seconds", "retry_after"}
    assert (body["error"], body["limit"], body["window_seconds"]) == ("rate_limited", limit, seconds)
    assert answer.headers["Retry-After"] == str(body["retry_after"])
    assert 1 <= body["retry_after"] <= seconds


class TestByPlan:
    @pytest.mark.parametrize(("plan", "rate"), [(PlanTier.FREE, 5), (PlanTier.PREMIUM, 50)])
    async def test_of_parallel_questions_exactly_the_plan_s_rate_passes(
        self, serve_app: Serve, join_app: Join, shared: dict[str, Any], plan: PlanTier, rate: int
    ) -> None:
        person = await join_app(await serve_app(**shared), plan=plan)
        conversation_id = await person.begin()

        answers = await asyncio.gather(*(person.chat(conversation_id, max_tokens=5) for _ in range(rate + 7)))

        assert Counter(each.status_code for each in answers) == {200: rate, 429: 7}
        for refused in (each for each in answers if each.status_code == 429):
            assert_rate_limited(refused, limit=rate)

    async def test_a_refused_question_is_not_stored_charged_or_sent(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(await serve_app(rate_limits_enabled=True))
        conversation_id = await person.begin()
        for _ in range(5):
            await person.chat(conversation_id)
        usage, bill = await person.usage(), openrouter.bill()

        assert_rate_limited(await person.chat(conversation_id), limit=5)

        assert (await person.usage(), openrouter.bill()) == (usage, bill)
        kept = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
        assert len(kept) == 10

    async def test_the_minute_moves_and_refused_requests_do_not_lengthen_it(
        self, serve_app: Serve, join_app: Join
    ) -> None:
        app = await serve_app(rate_limits_enabled=True)
        watch = by_hand(app)
        person = await join_app(app)
        conversation_id = await person.begin()
        for _ in range(5):
            await person.chat(conversation_id)
        for watch.now in (20.0, 59.5):
            refused = await person.chat(conversation_id)
            assert int(refused.headers["Retry-After"]) == int(60.5 - watch.now)

        watch.now = 60.0
        assert [(await person.chat(conversation_id)).status_code for _ in range(6)] == [200] * 5 + [429]

    async def test_titles_count_with_questions(self, serve_app: Serve, join_app: Join) -> None:
        person = await join_app(await serve_app(rate_limits_enabled=True))
        conversation_id = await person.begin()
        for _ in range(4):
            await person.chat(conversation_id)

        title = f"/api/v1/conversations/{conversation_id}/generate-title"
        assert (await person.http.post(title)).headers["RateLimit"].startswith('"model";r=0;')
        assert_rate_limited(await person.http.post(title), limit=5)

    async def test_people_do_not_use_up_each_other_s_minute(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(rate_limits_enabled=True)
        for _ in range(2):
            person = await join_app(app)
            conversation_id = await person.begin()
            assert [(await person.chat(conversation_id)).status_code for _ in range(5)] == [200] * 5

    async def test_two_apps_on_one_redis_count_together(self, serve_app: Serve, join_app: Join, redis_url: str) -> None:
        apps = [await serve_app(rate_limits_enabled=True, redis_url=redis_url) for _ in range(2)]
        person = await join_app(apps[0], plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        body = {"conversation_id": conversation_id, "message": "What is Salah?", "max_tokens": 5}
        urls = [f"{app.url}/api/v1/chat" for app in apps]

        answers = await asyncio.gather(*(person.http.post(urls[turn % 2], json=body) for turn in range(60)))

        assert Counter(each.status_code for each in answers) == {200: 50, 429: 10}

    async def test_counting_costs_a_question_at_most_one_statement(self, serve_app: Serve, join_app: Join) -> None:
        statements: dict[bool, list[int]] = {}
        for enabled in (True, False):
            app = await serve_app(rate_limits_enabled=enabled)
            person = await join_app(app)
            conversation_id = await person.begin()
            seen: list[str] = []
            event.listen(
                app.services.database.engine.sync_engine,
                "before_cursor_execute",
                lambda _connection, _cursor, statement, *_, seen=seen: seen.append(statement),
            )
            statements[enabled] = []
            for _ in range(2):
                seen.clear()
                assert (await person.chat(conversation_id)).status_code == 200
                statements[enabled].append(sum(not each.startswith(("BEGIN", "PRAGMA")) for each in seen))

        first, second = (counted - free for counted, free in zip(statements[True], statements[False], strict=True))
        assert (first, second) == (1, 0)


class TestHeaders:
    @pytest.fixture
    async def person(self, serve_app: Serve, join_app: Join) -> Person:
        app = await serve_app(rate_limits_enabled=True, api_requests_per_minute=20)
        by_hand(app)
        return await join_app(app)

    async def test_every_authenticated_answer_tells_where_one_stands(self, person: Person) -> None:
        for turn, (path, status) in enumerate(
            [("auth/me", 200), (f"conversations/{uuid4()}", 404), ("conversations?limit=0", 422)], start=1
        ):
            answer = await person.http.get(f"/api/v1/{path}")

            assert answer.status_code == status
            assert answer.headers["RateLimit-Policy"] == '"api";q=20;w=60'
            assert answer.headers["RateLimit"] == f'"api";r={20 - turn};t=60'

    async def test_questions_tell_of_the_plan_s_rate_streams_too(self, person: Person) -> None:
        conversation_id = await person.begin()
        plain = await person.chat(conversation_id)
        streamed = await person.chat(conversation_id, stream=True)
        failed = await person.chat(str(uuid4()), stream=True)

        assert [each.status_code for each in (plain, streamed, failed)] == [200, 200, 404]
        assert {each.headers["RateLimit-Policy"] for each in (plain, streamed, failed)} == {'"model";q=5;w=60'}
        assert [each.headers["RateLimit"] for each in (plain, streamed, failed)] == [
            f'"model";r={left};t=60' for left in (4, 3, 2)
        ]

    async def test_a_refusal_tells_it_as_well(self, person: Person) -> None:
        answers = [await person.http.get("/api/v1/auth/me") for _ in range(21)]

        assert_rate_limited(answers[-1], limit=20)
        assert answers[-1].headers["RateLimit"] == '"api";r=0;t=60'

    async def test_strangers_are_told_nothing(self, serve_app: Serve) -> None:
        app = await serve_app(rate_limits_enabled=True)
        async with app.client() as http:
            for path in ("/api/v1/subscriptions/plans", "/api/v1/auth/me", "/health/live"):
                assert "RateLimit" not in (await http.get(path)).headers

    async def test_switched_off_there_are_none(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app)

        assert "RateLimit" not in (await person.http.get("/api/v1/auth/me")).headers

    async def test_pages_of_other_origins_may_read_them(self, serve_app: Serve, join_app: Join) -> None:
        person = await join_app(await serve_app(rate_limits_enabled=True, cors_origins="https://wisqu.example"))
        answer = await person.http.get("/api/v1/auth/me", headers={"Origin": "https://wisqu.example"})

        readable = {each.strip() for each in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert readable >= {"RateLimit", "RateLimit-Policy", "Retry-After"}


async def test_other_requests_share_a_limit_of_their_own(
    serve_app: Serve, join_app: Join, shared: dict[str, Any]
) -> None:
    person = await join_app(await serve_app(**shared, api_requests_per_minute=30))
    conversation_id = await person.begin()
    answers = await asyncio.gather(*(person.http.get("/api/v1/auth/me") for _ in range(40)))

    assert Counter(each.status_code for each in answers) == {200: 29, 429: 11}
    assert (await person.chat(conversation_id)).status_code == 200


class TestRunningAnswers:
    async def start(self, person: Person, conversation_id: str) -> tuple[int, str]:
        """Begin to read a stream and leave it: the answer goes on. Its status, and its code if it was refused."""
        body = {"conversation_id": conversation_id, "message": "Take your time", "stream": True}
        async with person.http.stream("POST", "/api/v1/chat", json=body) as answer:
            if answer.status_code == 200:
                return 200, ""
            await answer.aread()
            return answer.status_code, answer.json().get("error")

    async def test_only_so_many_run_at_once_however_they_come(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, shared: dict[str, Any]
    ) -> None:
        app = await serve_app(**shared, max_running_answers_per_user=3)
        person, other = [await join_app(app, plan=PlanTier.PREMIUM) for _ in range(2)]
        conversation_id = await person.begin()
        openrouter.configure(tokens_per_second=5)

        started = await asyncio.gather(*(self.start(person, conversation_id) for _ in range(8)))

        assert Counter(started) == {(200, ""): 3, (429, "too_many_running_answers"): 5}
        assert app.services.hub.running == 3
        assert await self.start(other, await other.begin()) == (200, "")

    async def test_a_place_is_free_when_an_answer_has_ended(
        self, serve_app: Serve, join_app: Join, shared: dict[str, Any]
    ) -> None:
        person = await join_app(await serve_app(**shared, max_running_answers_per_user=1), plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()

        for stream in (False, True, False, True):
            assert (await person.chat(conversation_id, stream=stream)).status_code == 200

    async def test_what_was_refused_or_failed_leaves_its_place(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(max_running_answers_per_user=1, openrouter_first_token_timeout_seconds=0.3)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        refused = [
            await person.chat(str(uuid4())),
            await person.chat(conversation_id, temperature=99),
            await person.chat(conversation_id, message="x" * 40_000),
        ]
        openrouter.configure(first_token_delay=5)
        failed = await person.chat(conversation_id, stream=True)
        openrouter.configure(first_token_delay=0)

        assert [each.status_code for each in refused] == [404, 422, 422]
        assert "event: message.failed" in failed.text
        assert (await person.chat(conversation_id)).status_code == 200

    async def test_a_refusal_costs_nothing_of_the_minute(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(rate_limits_enabled=True, max_running_answers_per_user=1)
        person = await join_app(app)
        conversation_id = await person.begin()
        openrouter.configure(tokens_per_second=5)
        await self.start(person, conversation_id)

        refused = [await person.chat(conversation_id) for _ in range(10)]

        assert {each.json()["error"] for each in refused} == {"too_many_running_answers"}
        assert refused[-1].json()["limit"] == 1
        assert refused[-1].headers["RateLimit"].startswith('"model";r=4;')
        usage = await person.usage()
        assert usage["messages"]["used"] + usage["messages"]["reserved"] == 1

    async def test_two_apps_on_one_redis_count_together(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, redis_url: str
    ) -> None:
        apps = [await serve_app(redis_url=redis_url, max_running_answers_per_user=3) for _ in range(2)]
        person = await join_app(apps[0], plan=PlanTier.PREMIUM)
        elsewhere = Person(person.user_id, person.email, apps[1].client(headers=person.http.headers))
        conversation_id = await person.begin()
        openrouter.configure(tokens_per_second=5)

        both = (person, elsewhere)
        started = await asyncio.gather(*(self.start(both[turn % 2], conversation_id) for turn in range(8)))
        await elsewhere.http.aclose()

        assert Counter(status for status, _ in started) == {200: 3, 429: 5}


class TestLogins:
    async def test_of_parallel_guesses_at_one_account_so_many_are_tried(
        self, serve_app: Serve, join_app: Join, shared: dict[str, Any]
    ) -> None:
        app = await serve_app(**shared, login_failures_per_account=4)
        person = await join_app(app)

        guesses = await asyncio.gather(*(login(app, person.email, f"guess {n}", some_address()) for n in range(12)))

        assert Counter(each.json()["error"] for each in guesses) == {
            "invalid_credentials": 4,
            "too_many_login_attempts": 8,
        }
        right = await login(app, person.email, PASSWORD, some_address())
        assert right.status_code == 429, "who guesses on must not learn that a guess was right"

    async def test_known_and_unknown_accounts_are_refused_alike(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(login_failures_per_account=2)
        by_hand(app)
        person = await join_app(app)
        told = []
        for email in (person.email, f"{uuid4().hex}@example.com"):
            answers = [await login(app, email, "wrong", some_address()) for _ in range(3)]
            told.append([(each.status_code, each.json(), each.headers.get("Retry-After")) for each in answers])

        assert told[0] == told[1]
        assert told[0][2][0] == 429
        assert told[0][2][1] == {
            "error": "too_many_login_attempts",
            "detail": "Too many failed logins. Try again in 900 seconds.",
            "retry_after": 900,
        }
        assert told[0][2][2] == "900"

    async def test_one_account_is_counted_once_however_its_address_is_written(
        self, serve_app: Serve, join_app: Join
    ) -> None:
        app = await serve_app(login_failures_per_account=1)
        person = await join_app(app)
        await login(app, person.email, "wrong", some_address())

        assert (await login(app, f" {person.email.upper()} ", "wrong", some_address())).status_code == 429

    async def test_the_right_password_clears_the_account(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(login_failures_per_account=3)
        person = await join_app(app)
        for _ in range(3):
            for _ in range(2):
                assert (await login(app, person.email, "wrong", some_address())).status_code == 401
            assert (await login(app, person.email, PASSWORD, some_address())).status_code == 200

    async def test_an_account_is_open_again_after_a_quarter_of_an_hour(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(login_failures_per_account=1)
        watch = by_hand(app)
        person = await join_app(app)
        await login(app, person.email, "wrong", some_address())
        watch.now = 899.0
        assert (await login(app, person.email, PASSWORD, some_address())).headers["Retry-After"] == "1"

        watch.now = 900.0
        assert (await login(app, person.email, PASSWORD, some_address())).status_code == 200

    async def test_an_address_is_refused_whatever_account_it_tries(
        self, serve_app: Serve, join_app: Join, shared: dict[str, Any]
    ) -> None:
        app = await serve_app(**shared, login_failures_per_address=4)
        person = await join_app(app)
        address = some_address()

        names = [f"{uuid4().hex}@example.com" for _ in range(9)]
        guesses = await asyncio.gather(*(login(app, each, "wrong", address) for each in names))

        assert Counter(each.status_code for each in guesses) == {401: 4, 429: 5}
        assert (await login(app, person.email, PASSWORD, address)).status_code == 429
        assert (await login(app, person.email, PASSWORD, some_address())).status_code == 200

    async def test_right_passwords_from_one_address_are_no_failures(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(login_failures_per_address=2)
        person = await join_app(app)
        address = some_address()

        assert [(await login(app, person.email, PASSWORD, address)).status_code for _ in range(6)] == [200] * 6

    async def test_registrations_are_limited_by_address(
        self, serve_app: Serve, join_app: Join, shared: dict[str, Any]
    ) -> None:
        app = await serve_app(**shared, registrations_per_hour_per_address=3)
        address = some_address()

        answers = await asyncio.gather(*(register(app, address) for _ in range(6)))

        assert Counter(each.status_code for each in answers) == {201: 3, 429: 3}
        assert_rate_limited(next(each for each in answers if each.status_code == 429), limit=3, seconds=3_600)
        assert (await register(app, some_address())).status_code == 201


async def test_when_redis_goes_away_requests_are_served(
    serve_app: Serve, join_app: Join, redis_server: RedisServer
) -> None:
    app = await serve_app(rate_limits_enabled=True, redis_url=redis_server.url)
    person = await join_app(app)
    conversation_id = await person.begin()
    assert (await person.chat(conversation_id)).headers["RateLimit"].startswith('"model";r=4;')
    redis_server.stop()

    began = datetime.now(UTC)
    answers = [await person.chat(conversation_id, stream=stream) for stream in (False, True)]
    assert [each.status_code for each in answers] == [200, 200]
    assert (await person.http.get("/api/v1/auth/me")).status_code == 200
    assert (await login(app, person.email, PASSWORD, some_address())).status_code == 200
    assert (datetime.now(UTC) - began).total_seconds() < 5


async def test_an_unreachable_redis_does_not_keep_the_app_from_starting(serve_app: Serve, join_app: Join) -> None:
    person = await join_app(await serve_app(rate_limits_enabled=True, redis_url="redis://:hunter22@127.0.0.1:1/0"))

    assert (await person.chat(await person.begin())).status_code == 200
