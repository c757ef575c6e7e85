"""Changing plans over HTTP: up once confirmed, down at the period's end, and back again."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from app.core.clock import utc_now
from app.db.repositories import subscriptions as repository
from app.domain.plans import PlanTier
from app.domain.principal import Role
from app.domain.quotas import Amounts
from app.services.plan_change_confirmation import NextStep, RequestedUpgrade
from tests.conftest import Join, Serve
from tests.support.accounts import Person
from tests.support.operators import SUBSCRIPTIONS, Clock, log_in_again, read_audit, set_overrides, set_plan
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
TICK = timedelta(microseconds=1)


@pytest.fixture
async def premium(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


@pytest.fixture
async def operator(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, role=Role.ADMIN)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def me(person: Person) -> dict[str, Any]:
    body: dict[str, Any] = (await person.http.get(f"{SUBSCRIPTIONS}/me")).json()
    return body


async def cancel(person: Person, **body: Any) -> httpx2.Response:
    return await person.http.post(f"{SUBSCRIPTIONS}/cancel", json=body)


async def resume(person: Person) -> httpx2.Response:
    return await person.http.post(f"{SUBSCRIPTIONS}/resume")


async def change(person: Person, plan: str) -> httpx2.Response:
    return await person.http.post(f"{SUBSCRIPTIONS}/change", json={"plan": plan})


async def preview(person: Person, plan: str) -> httpx2.Response:
    return await person.http.post(f"{SUBSCRIPTIONS}/change-preview", json={"plan": plan})


async def explain(person: Person, feature: str) -> dict[str, Any]:
    answer = await person.http.get(f"{SUBSCRIPTIONS}/explain", params={"feature": feature})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def use(app: ServedApp, person: Person, amounts: Amounts) -> None:
    """Charge amounts to the person's month without asking anybody."""
    async with app.services.database.unit_of_work() as uow:
        period = (await app.services.subscriptions.get(person.user_id)).period
        await uow.quotas.lock_period(person.user_id, period)
        await uow.quotas.charge(person.user_id, period.start, amounts, cache_savings_usd=Decimal(0))
        await uow.commit()


class TestCancel:
    async def test_the_plan_ends_with_its_period(self, premium: Person) -> None:
        answer = await cancel(premium, reason="Too dear")

        assert answer.status_code == 200
        body = answer.json()
        assert body == await me(premium)
        end = body["period"]["end"]
        assert (body["plan"], body["status"], body["cancel_at"]) == ("premium", "cancelling", end)
        assert body["scheduled"] == {"plan": "free", "version": 1, "at": end}
        assert body["cancel_reason"] == "Too dear"

    async def test_no_body_is_needed(self, premium: Person) -> None:
        assert (await premium.http.post(f"{SUBSCRIPTIONS}/cancel")).json()["status"] == "cancelling"

    async def test_saying_it_twice_changes_nothing(self, premium: Person, operator: Person) -> None:
        first, second = [(await cancel(premium, reason="Too dear")).json() for _ in range(2)]

        assert first == second
        actions = [each["action"] for each in await read_audit(operator, premium)]
        assert actions == ["subscription.cancel"]

    async def test_a_new_reason_takes_the_place_of_the_old(self, premium: Person) -> None:
        await cancel(premium, reason="Too dear")
        await cancel(premium)

        assert (await cancel(premium, reason="Moving on")).json()["cancel_reason"] == "Moving on"

    async def test_free_has_nothing_to_cancel(self, person: Person) -> None:
        answer = await cancel(person)

        assert (answer.status_code, answer.json().get("error")) == (409, "nothing_to_cancel")

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\x00b", 7])
    async def test_a_reason_that_is_none_is_named(self, premium: Person, reason: Any) -> None:
        answer = await cancel(premium, reason=reason)

        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "reason")
        assert (await me(premium))["status"] == "active"


class TestResume:
    async def test_a_cancellation_is_taken_back(self, premium: Person) -> None:
        before = await me(premium)
        await cancel(premium, reason="Too dear")

        assert (await resume(premium)).json() == before

    async def test_a_scheduled_change_is_taken_back(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app, plan=PlanTier.UNLIMITED)
        before = await me(person)
        await change(person, "premium")

        assert (await resume(person)).json() == before

    async def test_a_request_is_taken_back(self, person: Person) -> None:
        before = await me(person)
        await change(person, "premium")

        assert (await resume(person)).json() == before

    async def test_with_nothing_pending_a_paid_plan_runs_on(self, premium: Person) -> None:
        before = await me(premium)

        assert ((await resume(premium)).status_code, await me(premium)) == (200, before)

    async def test_free_with_nothing_pending_has_nothing_to_resume(self, person: Person) -> None:
        answer = await resume(person)

        assert (answer.status_code, answer.json().get("error")) == (409, "nothing_to_resume")


class TestChange:
    async def test_an_upgrade_is_requested_and_waits(self, person: Person) -> None:
        answer = await change(person, "unlimited")

        assert answer.status_code == 202
        body = answer.json()
        assert (body["plan"], body["status"], body["scheduled"]) == ("free", "active", None)
        assert (body["requested"]["plan"], body["requested"]["version"]) == ("unlimited", 1)
        assert body["confirmation"] == {"by": "operator", "url": None}
        assert (await person.usage())["messages"]["limit"] == 100

    async def test_asking_again_keeps_the_first_request(self, person: Person) -> None:
        first, second = [(await change(person, "premium")).json() for _ in range(2)]
        other = (await change(person, "unlimited")).json()

        assert first == second
        assert other["requested"]["plan"] == "unlimited"

    async def test_a_downgrade_is_scheduled_for_the_periods_end(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app, plan=PlanTier.UNLIMITED)
        answer = await change(person, "premium")

        assert answer.status_code == 200
        body = answer.json()
        assert (body["plan"], body["status"], body["cancel_at"]) == ("unlimited", "changing", None)
        assert body["scheduled"] == {"plan": "premium", "version": 1, "at": body["period"]["end"]}
        assert body["confirmation"] is None
        assert (await person.usage())["messages"]["limit"] == 10_000

    async def test_changing_to_free_is_cancelling(self, premium: Person) -> None:
        assert (await change(premium, "free")).json()["status"] == "cancelling"

    @pytest.mark.parametrize("ask", [change, preview])
    async def test_ones_own_plan_is_no_change(self, premium: Person, ask: Any) -> None:
        answer = await ask(premium, "premium")

        assert (answer.status_code, answer.json().get("error")) == (409, "already_on_plan")

    @pytest.mark.parametrize("ask", [change, preview])
    @pytest.mark.parametrize("plan", ["gold", "", None, 1, "Premium"])
    async def test_an_unknown_plan_is_named(self, person: Person, ask: Any, plan: Any) -> None:
        answer = await ask(person, plan)

        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "plan")

    async def test_of_many_changes_at_once_one_is_kept_whole(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app, plan=PlanTier.UNLIMITED)
        wishes = ["premium", "free", "enterprise", "premium", "free", "enterprise"]
        answers = await asyncio.gather(*(change(person, plan) for plan in wishes), cancel(person), resume(person))

        assert Counter(each.status_code for each in answers) == {200: 6, 202: 2}
        body = await me(person)
        assert body["plan"] == "unlimited"
        assert (body["status"] == "active") == (body["scheduled"] is None)

    async def test_a_confirmation_of_another_kind_is_asked_once_it_is_stored(
        self, app: ServedApp, person: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[RequestedUpgrade] = []

        class Checkout:
            async def ask(self, upgrade: RequestedUpgrade) -> NextStep:
                assert (await app.services.subscriptions.get(upgrade.user_id)).requested is not None
                asked.append(upgrade)
                return NextStep(by="payment", url="https://pay.example.com/1")

        monkeypatch.setattr(app.services.subscriptions, "_confirmation", Checkout())
        body = (await change(person, "premium")).json()

        assert body["confirmation"] == {"by": "payment", "url": "https://pay.example.com/1"}
        assert asked == [RequestedUpgrade(person.user_id, PlanTier.PREMIUM, 1, Decimal("19.99"))]


class TestPreview:
    async def test_an_upgrade_shows_price_and_limits_side_by_side(self, person: Person) -> None:
        body = (await preview(person, "premium")).json()

        assert (body["kind"], body["plan"], body["version"], body["takes_effect_at"]) == ("upgrade", "premium", 1, None)
        assert (body["price_now_usd_per_month"], body["price_usd_per_month"]) == (0, 19.99)
        limits = {each["name"]: (each["now"], each["then"]) for each in body["limits"]}
        assert (limits["messages_per_month"], limits["advanced_models"]) == ((100, 2_000), (False, True))
        assert not any("cost" in name for name in limits)
        assert body["over_limit"] == []
        assert (await me(person))["requested"] is None

    async def test_a_smaller_plan_shows_what_would_not_fit(self, app: ServedApp, premium: Person) -> None:
        await use(app, premium, Amounts(messages=150, tokens=50_000, images=6))
        for number in range(4):
            preset = {"name": "P", "slug": f"p-{number}", "model": "openai/gpt-4o-mini"}
            await premium.http.post("/api/v1/presets", json=preset)
        body = (await preview(premium, "free")).json()

        assert (body["kind"], body["takes_effect_at"]) == ("cancellation", (await me(premium))["period"]["end"])
        assert body["over_limit"] == [
            {"name": "messages_per_month", "used": 150, "limit": 100},
            {"name": "images_per_month", "used": 6, "limit": 5},
            {"name": "max_presets", "used": 4, "limit": 3},
        ]

    async def test_what_was_agreed_goes_along(self, person: Person, operator: Person) -> None:
        await set_overrides(operator, person, {"max_presets": 77})
        limits = {each["name"]: each for each in (await preview(person, "premium")).json()["limits"]}

        assert limits["max_presets"] == {"name": "max_presets", "now": 77, "then": 77}


class TestOverTime:
    async def test_an_upgrade_at_the_cap_lets_the_next_call_pass_and_resets_nothing(
        self, app: ServedApp, person: Person, operator: Person
    ) -> None:
        await use(app, person, Amounts(messages=100))
        conversation_id = await person.begin()
        assert (await person.chat(conversation_id)).json()["error"] == "quota_exceeded"
        await change(person, "premium")
        assert (await person.chat(conversation_id)).json()["error"] == "quota_exceeded"
        before = await me(person)

        assert (await set_plan(operator, person, "premium")).status_code == 200
        assert (await person.chat(conversation_id)).status_code == 200
        messages = (await person.usage())["messages"]
        assert (messages["used"], messages["limit"]) == (101, 2_000)
        after = await me(person)
        assert (after["period"], after["since"]) == (before["period"], before["since"])
        assert (after["plan"], after["requested"]) == ("premium", None)

    async def test_a_downgrade_keeps_the_paid_quota_to_the_end(
        self, serve_app: Serve, join_app: Join, clock: Clock
    ) -> None:
        app = await serve_app(clock=clock)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        await use(app, person, Amounts(messages=150))
        end = datetime.fromisoformat((await change(person, "free")).json()["scheduled"]["at"])

        clock.now = end - timedelta(seconds=30)
        await log_in_again(person)
        conversation_id = await person.begin()
        assert (await person.chat(conversation_id)).status_code == 200
        assert (await person.usage())["messages"]["limit"] == 2_000

        clock.now = end
        body = await me(person)
        assert (body["plan"], body["status"], body["scheduled"], body["cancel_at"]) == ("free", "active", None, None)
        messages = (await person.usage())["messages"]
        assert (messages["used"], messages["limit"]) == (0, 100)
        assert (await cancel(person)).json()["error"] == "nothing_to_cancel"
        assert (await resume(person)).json()["error"] == "nothing_to_resume"

    async def test_a_change_after_an_end_writes_the_end_down(
        self, serve_app: Serve, join_app: Join, clock: Clock
    ) -> None:
        app = await serve_app(clock=clock)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        end = datetime.fromisoformat((await cancel(person, reason="Too dear")).json()["cancel_at"])
        clock.now = end + timedelta(days=100)
        await log_in_again(person)
        body = (await change(person, "unlimited")).json()

        assert (body["plan"], body["cancel_reason"], body["requested"]["plan"]) == ("free", "Too dear", "unlimited")
        async with app.services.database.read_only() as uow:
            row = await uow.subscriptions.require(person.user_id)
        assert (row.plan, row.next_plan, row.status, row.cancel_at) == (PlanTier.FREE, None, "active", None)

    async def test_an_override_expires_by_itself(self, serve_app: Serve, join_app: Join, clock: Clock) -> None:
        app = await serve_app(clock=clock)
        person, operator = await join_app(app), await join_app(app, role=Role.ADMIN)
        until = clock.now + timedelta(minutes=5)
        agreed = await set_overrides(operator, person, {"messages_per_month": 500}, expires_at=until.isoformat())
        assert agreed.status_code == 200, agreed.text

        clock.now = until - TICK
        assert (await person.usage())["messages"]["limit"] == 500
        clock.now = until
        assert (await person.usage())["messages"]["limit"] == 100


class TestVersions:
    async def test_people_keep_their_version_until_they_are_moved(
        self, serve_app: Serve, join_app: Join, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = await serve_app()
        person, operator = await join_app(app, plan=PlanTier.PREMIUM), await join_app(app, role=Role.ADMIN)
        await publish(app, PlanTier.PREMIUM, messages_per_month=3_000)

        assert (await person.usage())["messages"]["limit"] == 2_000
        assert (await set_plan(operator, person, "premium")).json()["plan_version"] == 2
        assert (await person.usage())["messages"]["limit"] == 3_000
        assert (await set_plan(operator, person, "premium", version=1)).json()["plan_version"] == 1

    async def test_what_was_requested_is_what_is_confirmed(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app()
        person, operator = await join_app(app), await join_app(app, role=Role.ADMIN)
        await change(person, "premium")
        await publish(app, PlanTier.PREMIUM, messages_per_month=1)

        assert (await set_plan(operator, person, "premium")).json()["plan_version"] == 1

    async def test_a_version_never_sold_is_refused_by_name(self, person: Person, operator: Person) -> None:
        answer = await set_plan(operator, person, "premium", version=9)

        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "version")


async def publish(app: ServedApp, plan: PlanTier, **changes: Any) -> None:
    """Put a new version of a plan on sale."""
    async with app.services.database.unit_of_work() as uow:
        newest = repository.plan_limits_of(await uow.subscriptions.require_version(plan))
        await uow.subscriptions.publish_plan(replace_limits(newest, changes), now=datetime.now(UTC))
        await uow.commit()


def replace_limits(limits: Any, changes: dict[str, Any]) -> Any:
    return type(limits)(**{name: changes.get(name, getattr(limits, name)) for name in limits.__slots__})


class TestExplain:
    async def test_the_plan_decides(self, person: Person, premium: Person) -> None:
        refused, allowed = await explain(person, "image_generation"), await explain(premium, "image_generation")

        assert (refused["allowed"], refused["why"], refused["available_in"]) == (False, "plan", "premium")
        assert (allowed["allowed"], allowed["why"], allowed["available_in"]) == (True, "plan", None)

    async def test_an_agreement_decides(self, person: Person, operator: Person) -> None:
        await set_overrides(operator, person, {"image_generation": True})
        body = await explain(person, "image_generation")

        assert (body["allowed"], body["why"], body["expires_at"]) == (True, "override", None)

    async def test_the_server_decides(self, serve_app: Serve, join_app: Join) -> None:
        person = await join_app(await serve_app(image_generation_enabled=False), plan=PlanTier.PREMIUM)
        body = await explain(person, "image_generation")

        assert (body["allowed"], body["why"]) == (False, "switched_off")

    async def test_a_meter_tells_its_numbers(self, person: Person) -> None:
        await person.chat(await person.begin())
        body = await explain(person, "messages")

        assert (body["allowed"], body["used"], body["limit"]) == (True, 1, 100)
        assert body["resets_at"] == (await person.usage())["resets_at"]

    async def test_presets_never_reset(self, person: Person) -> None:
        body = await explain(person, "presets")

        assert (body["allowed"], body["used"], body["limit"], body["resets_at"]) == (True, 0, 3, None)

    @pytest.mark.parametrize("feature", ["flying", "", "plan"])
    async def test_what_nobody_sells_is_named(self, person: Person, feature: str) -> None:
        answer = await person.http.get(f"{SUBSCRIPTIONS}/explain", params={"feature": feature})

        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "feature")


@pytest.mark.parametrize("path", ["cancel", "resume", "change", "change-preview", "explain"])
async def test_strangers_are_asked_to_log_in(http: httpx2.AsyncClient, path: str) -> None:
    method = "GET" if path == "explain" else "POST"

    assert (await http.request(method, f"{SUBSCRIPTIONS}/{path}")).status_code == 401


async def test_reading_the_limits_in_force_is_one_statement(app: ServedApp, premium: Person, operator: Person) -> None:
    await set_overrides(operator, premium, {"messages_per_month": 7, "max_presets": 9, "image_generation": False})
    await change(premium, "free")
    statements: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    async with app.services.database.read_only() as uow:
        engine = app.services.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", remember)
        plan = await uow.subscriptions.require_plan(premium.user_id, now=utc_now())
        event.remove(engine, "before_cursor_execute", remember)

    assert len([each for each in statements if each != "BEGIN"]) == 1
    limits = plan.limits
    assert (limits.plan, limits.messages_per_month, limits.max_presets, limits.image_generation) == (
        PlanTier.PREMIUM,
        7,
        9,
        False,
    )
