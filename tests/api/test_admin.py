"""What operators see and decide over HTTP, and that all of it is written down."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import delete, event, update
from sqlalchemy.exc import DBAPIError

from app.db.models import AuditEntry
from app.domain.plans import PlanTier
from app.domain.principal import Role
from tests.conftest import Join, Serve
from tests.support.accounts import Person
from tests.support.operators import ADMIN, SUBSCRIPTIONS, Clock, log_in_again, read_audit, set_overrides, set_plan
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio


@pytest.fixture
async def operator(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, role=Role.ADMIN)


async def read_user(operator: Person, person: Person) -> dict[str, Any]:
    answer = await operator.http.get(f"{ADMIN}/users/{person.user_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def endpoints(user_id: UUID) -> list[tuple[str, str, Any]]:
    user = f"{ADMIN}/users/{user_id}"
    return [
        ("GET", f"{ADMIN}/users", None),
        ("GET", user, None),
        ("PUT", f"{user}/subscription", {"plan": "premium", "reason": "x"}),
        ("PUT", f"{user}/overrides", {"limits": {"max_presets": 1}, "reason": "x"}),
        ("DELETE", f"{user}/overrides/max_presets", None),
        ("GET", f"{ADMIN}/audit", None),
    ]


class TestWhoMay:
    @pytest.mark.parametrize("number", range(6))
    async def test_people_are_refused_and_strangers_asked_to_log_in(
        self, person: Person, http: httpx2.AsyncClient, number: int
    ) -> None:
        method, path, body = endpoints(person.user_id)[number]
        refused, asked = [await each.request(method, path, json=body) for each in (person.http, http)]

        assert (refused.status_code, refused.json().get("error")) == (403, "forbidden")
        assert asked.status_code == 401

    @pytest.mark.parametrize("number", range(1, 5))
    async def test_an_unknown_account_is_not_found_and_nothing_noted(self, operator: Person, number: int) -> None:
        unknown = uuid4()
        method, path, body = endpoints(unknown)[number]
        answer = await operator.http.request(method, path, json=body)

        assert (answer.status_code, answer.json().get("error")) == (404, "not_found")
        noted = (await operator.http.get(f"{ADMIN}/audit", params={"user_id": str(unknown)})).json()["items"]
        assert noted == []

    async def test_a_malformed_id_is_named(self, operator: Person) -> None:
        answer = await operator.http.get(f"{ADMIN}/users/me")

        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "user_id")


class TestSetPlan:
    async def test_any_plan_holds_at_once(self, person: Person, operator: Person) -> None:
        for plan, limit in (("enterprise", 100_000), ("free", 100), ("unlimited", 10_000)):
            answer = await set_plan(operator, person, plan)
            assert (answer.status_code, answer.json()["plan"]) == (200, plan)
            assert (await person.usage())["messages"]["limit"] == limit

    async def test_it_ends_what_was_scheduled(self, app: ServedApp, join_app: Join, operator: Person) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)
        await person.http.post(f"{SUBSCRIPTIONS}/cancel", json={"reason": "Too dear"})
        body = (await set_plan(operator, person, "unlimited")).json()

        assert (body["status"], body["scheduled"], body["cancel_at"], body["cancel_reason"]) == ("active",) + (
            None,
        ) * 3

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("plan", "gold"),
            ("plan", None),
            ("version", 0),
            ("version", "1"),
            ("version", 2**31),
            ("reason", ""),
            ("reason", None),
            ("reason", "x" * 501),
            ("price", 0),
        ],
    )
    async def test_a_wrong_field_is_named(self, person: Person, operator: Person, field: str, value: Any) -> None:
        answer = await set_plan(operator, person, **{"plan": "premium", field: value})

        assert answer.status_code == 422, answer.text
        assert [each["field"] for each in answer.json()["fields"]] == [field]
        assert (await person.usage())["messages"]["limit"] == 100

    async def test_two_operators_at_once_leave_one_chain_of_changes(
        self, app: ServedApp, person: Person, operator: Person, join_app: Join
    ) -> None:
        other = await join_app(app, role=Role.ADMIN)
        plans = ["premium", "unlimited", "enterprise", "free"] * 2
        await asyncio.gather(
            *(set_plan(who, person, plan) for plan, who in zip(plans, [operator, other] * 4, strict=True))
        )

        # Whatever the order was: each began where another had ended.
        entries = await read_audit(operator, person)
        last = (await read_user(operator, person))["subscription"]["plan"]
        befores, afters = ([each[side]["plan"] for each in entries] for side in ("before", "after"))
        assert len(entries) == len(plans)
        assert sorted([*befores, last]) == sorted([*afters, "free"])


class TestOverrides:
    async def test_what_is_agreed_holds_at_once_and_shows(self, person: Person, operator: Person) -> None:
        until = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
        limits = {"messages_per_month": 250_000, "requests_per_minute": 3_000, "cost_ceiling_usd_per_month": 900.5}
        body = (await set_overrides(operator, person, limits, expires_at=until.isoformat())).json()

        assert (await person.usage())["messages"]["limit"] == 250_000
        assert (body["limits"]["requests_per_minute"], body["limits"]["cost_ceiling_usd_per_month"]) == (3_000, 900.5)
        agreed = {each["name"]: each for each in body["overrides"]}
        assert {name: each["value"] for name, each in agreed.items()} == {
            "messages_per_month": 250_000,
            "requests_per_minute": 3_000,
            "cost_ceiling_usd_per_month": "900.5",
        }
        assert {datetime.fromisoformat(each["expires_at"]) for each in agreed.values()} == {until}
        assert body == await read_user(operator, person)

    async def test_agreeing_anew_replaces_that_one_and_keeps_the_others(self, person: Person, operator: Person) -> None:
        await set_overrides(operator, person, {"max_presets": 1, "messages_per_month": 10})
        body = (await set_overrides(operator, person, {"max_presets": 2}, reason="contract 13")).json()

        assert [(each["name"], each["value"], each["reason"]) for each in body["overrides"]] == [
            ("max_presets", 2, "contract 13"),
            ("messages_per_month", 10, "contract 12"),
        ]

    async def test_a_feature_can_be_opened_or_closed(self, person: Person, operator: Person) -> None:
        advanced = {"model": "anthropic/claude-sonnet-5.5"}
        conversation_id = await person.begin()
        assert (await person.chat(conversation_id, **advanced)).status_code == 403
        await set_overrides(operator, person, {"advanced_models": True})

        assert (await person.chat(conversation_id, **advanced)).status_code == 200
        await set_plan(operator, person, "premium")
        await set_overrides(operator, person, {"advanced_models": False})
        refused = (await person.chat(conversation_id, **advanced)).json()
        assert (refused["error"], refused["available_in"]) == ("feature_not_available", None)
        assert "by agreement" in refused["detail"]

    async def test_taken_back_the_plan_holds_again(self, person: Person, operator: Person) -> None:
        await set_overrides(operator, person, {"messages_per_month": 5})
        gone = f"{ADMIN}/users/{person.user_id}/overrides/messages_per_month"

        assert (await operator.http.delete(gone)).status_code == 204
        assert (await person.usage())["messages"]["limit"] == 100
        assert (await operator.http.delete(gone)).status_code == 404

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("limits.messages_per_month", -1),
            ("limits.messages_per_month", "5"),
            ("limits.messages_per_month", True),
            ("limits.messages_per_month", 2**31),
            ("limits.tokens_per_month", 10**15),
            ("limits.cost_ceiling_usd_per_month", -0.01),
            ("limits.cost_ceiling_usd_per_month", "Infinity"),
            ("limits.requests_per_minute", 0),
            ("limits.image_generation", 1),
            ("limits.image_generation", "true"),
            ("limits.price_usd_per_month", 1),
            ("limits.plan", "free"),
            ("limits", {}),
            ("limits", {"max_presets": None}),
            ("limits", None),
            ("reason", " "),
            ("expires_at", "2020-01-01T00:00:00Z"),
            ("expires_at", "2099-01-01T00:00:00"),
            ("expires_at", "9999-12-31T23:59:59-14:00"),
            ("expires_at", "soon"),
        ],
    )
    async def test_a_wrong_field_is_named(self, person: Person, operator: Person, field: str, value: Any) -> None:
        body: dict[str, Any] = {"limits": {"max_presets": 5}, "reason": "x"}
        outer, _, inner = field.partition(".")
        body[outer] = {inner: value} if inner else value
        answer = await operator.http.put(f"{ADMIN}/users/{person.user_id}/overrides", json=body)

        assert answer.status_code == 422, answer.text
        assert [each["field"] for each in answer.json()["fields"]] == [field]
        assert (await read_user(operator, person))["overrides"] == []


class TestListUsers:
    async def test_an_account_shows_plan_and_usage(self, app: ServedApp, join_app: Join, operator: Person) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)
        answer = (await person.chat(await person.begin())).json()
        await person.http.post(f"{SUBSCRIPTIONS}/change", json={"plan": "unlimited"})
        (found,) = await self._list(operator, email=person.email)

        assert (found["id"], found["email"], found["role"]) == (str(person.user_id), person.email, "user")
        assert "password" not in str(found)
        subscription = found["subscription"]
        assert (subscription["plan"], subscription["status"]) == ("premium", "active")
        assert subscription["requested"]["plan"] == "unlimited"
        assert subscription["used"] == {
            "messages": 1,
            "tokens": answer["usage"]["total_tokens"],
            "images": 0,
            "cost_usd": answer["total_cost_usd"],
        }

    async def test_what_was_used_in_an_earlier_period_is_not_shown(self, serve_app: Serve, join_app: Join) -> None:
        clock = Clock()
        app = await serve_app(clock=clock)
        operator, person = await join_app(app, role=Role.ADMIN), await join_app(app)
        await person.chat(await person.begin())
        (before,) = await self._list(operator, email=person.email)
        clock.now = datetime.fromisoformat(before["subscription"]["period"]["end"])
        await log_in_again(operator)
        (after,) = await self._list(operator, email=person.email)

        assert (before["subscription"]["used"]["messages"], after["subscription"]["used"]["messages"]) == (1, 0)
        assert after["subscription"]["period"]["start"] == before["subscription"]["period"]["end"]

    async def test_an_address_is_found_by_any_part_of_it_in_any_case(self, person: Person, operator: Person) -> None:
        (found,) = await self._list(operator, email=f" {person.email[3:40].upper()} ")

        assert found["email"] == person.email

    @pytest.mark.parametrize("part", ["%", "_@", "nobody-has-this"])
    async def test_nothing_but_letters_is_searched(self, operator: Person, part: str) -> None:
        assert await self._list(operator, email=part) == []

    async def test_pages_hold_everybody_once_newest_first(
        self, app: ServedApp, join_app: Join, operator: Person
    ) -> None:
        people = [await join_app(app) for _ in range(5)]
        pages, cursor = [], None
        while len(pages) < 3:
            params = {"limit": 2, "cursor": cursor} if cursor else {"limit": 2}
            body = (await operator.http.get(f"{ADMIN}/users", params=params)).json()
            pages.append([each["id"] for each in body["items"]])
            cursor = body["next_cursor"]

        newest = [str(each.user_id) for each in reversed(people)]
        assert [each for page in pages for each in page][:5] == newest

    async def test_the_last_page_has_no_cursor(self, person: Person, operator: Person) -> None:
        body = (await operator.http.get(f"{ADMIN}/users", params={"email": person.email, "limit": 1})).json()

        assert (len(body["items"]), body["next_cursor"]) == (1, None)

    async def test_a_longer_list_takes_no_more_statements(
        self, app: ServedApp, join_app: Join, operator: Person
    ) -> None:
        for _ in range(4):
            await join_app(app)
        counts = [await self._count_statements(app, operator, limit) for limit in (1, 4)]

        assert counts[0] == counts[1]

    @pytest.mark.parametrize(
        ("field", "value"),
        [("limit", "0"), ("limit", "101"), ("cursor", "x"), ("email", "a\x00"), ("email", "x" * 321)],
    )
    async def test_a_wrong_parameter_is_named(self, operator: Person, field: str, value: str) -> None:
        answer = await operator.http.get(f"{ADMIN}/users", params={field: value})

        assert (answer.status_code, [each["field"] for each in answer.json()["fields"]]) == (422, [field])

    async def _list(self, operator: Person, **params: Any) -> list[dict[str, Any]]:
        answer = await operator.http.get(f"{ADMIN}/users", params=params)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def _count_statements(self, app: ServedApp, operator: Person, limit: int) -> int:
        statements: list[str] = []

        def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        engine = app.services.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", remember)
        try:
            assert len(await self._list(operator, limit=limit)) == limit
        finally:
            event.remove(engine, "before_cursor_execute", remember)
        return len(statements)


class TestAudit:
    async def test_everything_done_to_somebody_stands_there_in_order(self, person: Person, operator: Person) -> None:
        await person.http.post(f"{SUBSCRIPTIONS}/change", json={"plan": "unlimited"})
        await set_plan(operator, person, "premium")
        await person.http.post(f"{SUBSCRIPTIONS}/cancel", json={"reason": "Too dear"})
        await person.http.post(f"{SUBSCRIPTIONS}/resume")
        await person.http.post(f"{SUBSCRIPTIONS}/change", json={"plan": "free"})
        await set_overrides(operator, person, {"max_presets": 9})
        await operator.http.delete(f"{ADMIN}/users/{person.user_id}/overrides/max_presets")
        await read_user(operator, person)
        entries = await read_audit(operator, person)

        assert [(each["actor"], each["action"]) for each in entries] == [
            ("user", "subscription.request"),
            ("operator", "subscription.set_plan"),
            ("user", "subscription.cancel"),
            ("user", "subscription.resume"),
            ("user", "subscription.schedule"),
            ("operator", "overrides.set"),
            ("operator", "overrides.remove"),
            ("operator", "users.read"),
        ]
        who = {"user": str(person.user_id), "operator": str(operator.user_id)}
        assert all(each["actor_id"] == who[each["actor"]] for each in entries)
        assert all(each["user_id"] == str(person.user_id) for each in entries)

    async def test_a_row_says_what_was_and_what_is_why_and_by_which_request(
        self, person: Person, operator: Person
    ) -> None:
        operator.http.headers["X-Request-ID"] = "deed-1"
        await set_plan(operator, person, "premium")
        await set_overrides(operator, person, {"max_presets": 9})
        plan, agreed = await read_audit(operator, person)

        assert (plan["reason"], plan["request_id"]) == ("paid by invoice", "deed-1")
        assert (plan["before"]["plan"], plan["after"]["plan"], plan["after"]["plan_version"]) == ("free", "premium", 1)
        assert (agreed["before"], agreed["after"]) == ({}, {"max_presets": {"value": 9, "expires_at": None}})
        assert abs(datetime.now(UTC) - datetime.fromisoformat(plan["created_at"])) < timedelta(minutes=1)

    async def test_looking_through_people_is_noted_with_whom_it_showed(self, person: Person, operator: Person) -> None:
        await operator.http.get(f"{ADMIN}/users", params={"email": person.email})
        entries = (await operator.http.get(f"{ADMIN}/audit", params={"limit": 1})).json()["items"]

        assert (entries[0]["action"], entries[0]["actor_id"]) == ("users.list", str(operator.user_id))
        assert entries[0]["after"] == {"email": person.email, "users": [str(person.user_id)]}

    async def test_reading_the_log_is_noted_in_it(self, operator: Person) -> None:
        await operator.http.get(f"{ADMIN}/audit")
        entries = (await operator.http.get(f"{ADMIN}/audit", params={"limit": 1})).json()["items"]

        assert (entries[0]["action"], entries[0]["user_id"]) == ("audit.list", None)

    async def test_pages_follow_one_another(self, person: Person, operator: Person) -> None:
        for plan in ("premium", "unlimited", "enterprise"):
            await set_plan(operator, person, plan)
        params: dict[str, Any] = {"user_id": str(person.user_id), "limit": 2}
        first = (await operator.http.get(f"{ADMIN}/audit", params=params)).json()
        second = (await operator.http.get(f"{ADMIN}/audit", params=params | {"cursor": first["next_cursor"]})).json()

        plans = [each["after"]["plan"] for each in first["items"] + second["items"]]
        assert plans == ["enterprise", "unlimited", "premium"]
        assert second["next_cursor"] is None

    async def test_what_is_refused_leaves_no_row(self, person: Person, operator: Person) -> None:
        await set_plan(operator, person, "premium", version=99)
        await set_overrides(operator, person, {"max_presets": 1}, expires_at="2020-01-01T00:00:00Z")
        await person.http.post(f"{SUBSCRIPTIONS}/cancel")

        assert await read_audit(operator, person) == []

    @pytest.mark.parametrize(
        "change", [update(AuditEntry).values(reason="x"), delete(AuditEntry)], ids=["update", "delete"]
    )
    async def test_the_database_itself_refuses_to_change_it(
        self, app: ServedApp, person: Person, operator: Person, change: Any
    ) -> None:
        await set_plan(operator, person, "premium")

        async with app.services.database.unit_of_work() as uow:
            with pytest.raises(DBAPIError, match="append-only"):
                await uow._session.execute(change)
        assert len(await read_audit(operator, person)) == 1
