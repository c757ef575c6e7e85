"""Charts over HTTP: for operators only, as JSON and as files whose sums are the ledger's."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from app.db.models import AuditEntry, UsageEvent
from app.domain.plans import PlanTier
from app.domain.principal import Role
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
ROOT = "/api/v1/analytics"
CHARTS = ("system-stats", "plan-distribution", "usage-trends", "top-users", "model-usage", "cache-performance")


@pytest.fixture
async def house(serve_app: Serve) -> ServedApp:
    return await serve_app()


async def read(operator: Person, chart: str, **asked: Any) -> dict[str, Any]:
    answer = await operator.http.get(f"{ROOT}/{chart}", params=asked)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("chart", CHARTS)
async def test_people_are_refused_and_strangers_asked_to_log_in(
    person: Person, http: httpx2.AsyncClient, chart: str
) -> None:
    refused, asked = [await each.get(f"{ROOT}/{chart}") for each in (person.http, http)]

    assert (refused.status_code, refused.json()["error"], asked.status_code) == (403, "forbidden", 401)


async def test_screen_file_and_ledger_come_to_the_same(
    house: ServedApp, join_app: Join, openrouter: EmulatorProcess
) -> None:
    operator = await join_app(house, role=Role.ADMIN)
    for plan in (PlanTier.PREMIUM, PlanTier.FREE):
        person = await join_app(house, plan=plan)
        conversation_id = await person.begin()
        for question in ("What is Salah?", "And Zakat?"):
            assert (await person.chat(conversation_id, question)).status_code == 200
    async with house.services.database.read_only() as uow:
        sums = select(func.sum(UsageEvent.cost_usd), func.sum(UsageEvent.messages), func.sum(UsageEvent.prompt_tokens))
        cost, messages, prompt = (await uow._session.execute(sums)).one()

    for chart, asked in (
        ("usage-trends", {}),
        ("usage-trends", {"group_by": "plan"}),
        ("model-usage", {}),
        ("top-users", {}),
    ):
        body = await read(operator, chart, **asked)
        files = [
            (await operator.http.get(f"{ROOT}/{chart}", params=asked | {"format": kind})).text
            for kind in ("csv", "ndjson")
        ]
        rows = list(csv.DictReader(io.StringIO(files[0])))
        lines = [json.loads(line) for line in files[1].splitlines()]

        assert len(rows) == len(lines) == len(body["items"])
        assert body["totals"]["messages"] == messages == 4
        assert body["totals"]["cost_usd"] == pytest.approx(float(cost))
        for told in (rows, lines):
            assert sum(Decimal(row["cost_usd"]) for row in told) == cost > 0
            assert sum(int(row["prompt_tokens"]) for row in told) == prompt
    stats = {each["metric"]: each["value"] for each in (await read(operator, "system-stats"))["items"]}
    assert (stats["messages"], stats["active_users"], stats["conversations"]) == (4, 2, 2)
    assert sum(each["users"] for each in (await read(operator, "plan-distribution"))["items"]) == 3
    assert (await read(operator, "cache-performance", group_by="day"))["totals"]["prompt_tokens"] == prompt


async def test_a_failed_answer_is_an_error_of_its_model(
    house: ServedApp, join_app: Join, openrouter: EmulatorProcess
) -> None:
    operator = await join_app(house, role=Role.ADMIN)
    person = await join_app(house, plan=PlanTier.PREMIUM)
    openrouter.fault("http_402", times=50)
    refused = await person.chat(await person.begin())
    assert refused.status_code >= 500

    (row,) = (await read(operator, "model-usage"))["items"]
    assert (row["failed"], row["error_rate"], sum(row["errors"].values()), row["messages"]) == (1, 1.0, 1, 0)


async def test_looking_at_people_is_written_down(house: ServedApp, join_app: Join) -> None:
    operator = await join_app(house, role=Role.ADMIN)
    await read(operator, "top-users")

    async with house.services.database.read_only() as uow:
        query = select(AuditEntry).where(AuditEntry.action == "analytics.top_users")
        (entry,) = (await uow._session.scalars(query)).all()
    assert entry.actor_id == operator.user_id


async def test_a_name_that_looks_like_a_formula_stays_text(
    house: ServedApp, join_app: Join, openrouter: EmulatorProcess
) -> None:
    operator = await join_app(house, role=Role.ADMIN)
    user = await house.services.auth.register(
        email="=cmd|'/c'!a1@example.com", password="long enough", plan=PlanTier.PREMIUM
    )
    conversation = await house.services.conversations.create(user.id)
    await house.services.chat.chat(user_id=user.id, conversation_id=conversation.id, message_content="Hello")

    text = (await operator.http.get(f"{ROOT}/top-users", params={"format": "csv"})).text

    (row,) = csv.DictReader(io.StringIO(text))
    assert row["email"].startswith("'=cmd")
    assert (await read(operator, "top-users"))["items"][0]["email"].startswith("=cmd")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"time_zone": "Nowhere"}, "time_zone"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ({"plan": "gold"}, "plan"),
    ],
)
async def test_a_wrong_filter_is_named(app: ServedApp, join_app: Join, asked: dict[str, str], field: str) -> None:
    operator = await join_app(app, role=Role.ADMIN)

    answer = await operator.http.get(f"{ROOT}/usage-trends", params=asked)

    assert answer.status_code == 422
    assert field in json.dumps(answer.json()["fields"])
