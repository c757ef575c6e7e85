"""Plans, one's own subscription, and what one has used, over HTTP."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import PASSWORD, Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

PLAN_TABLE = """
|                         | Free | Premium | Unlimited | Enterprise |
| price_usd_per_month     |    0 |   19.99 |     99.99 |     499.99 |
| messages_per_month      |  100 |      2K |       10K |       100K |
| tokens_per_month        | 100K |      5M |       50M |       500M |
| images_per_month        |    5 |     100 |        1K |        10K |
| web_search              |  yes |     yes |       yes |        yes |
| image_generation        |   no |     yes |       yes |        yes |
| pdf_processing          |   no |     yes |       yes |        yes |
| audio_processing        |   no |     yes |       yes |        yes |
| prompt_caching          |   no |     yes |       yes |        yes |
| advanced_models         |   no |     yes |       yes |        yes |
| max_presets             |    3 |      20 |       100 |        500 |
| max_context_tokens      |   4K |    200K |        1M |         1M |
| priority_support        |   no |      no |       yes |        yes |
| requests_per_minute     |    5 |      50 |      1000 |     custom |
"""
"""The plans as they are sold."""

WORDS: dict[str, Any] = {"yes": True, "no": False, "custom": None}


def read_cell(text: str) -> Any:
    if text in WORDS:
        return WORDS[text]
    return float(text.replace("K", "e3").replace("M", "e6"))


def sold_cells() -> list[tuple[str, str, Any]]:
    """(plan, field, value) for every cell of the table."""
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PLAN_TABLE.strip().splitlines()]
    return [
        (plan.lower(), field, read_cell(cell))
        for field, *cells in rows
        for plan, cell in zip(head[1:], cells, strict=True)
    ]


async def read_plans(http: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await http.get("/api/v1/subscriptions/plans")
    assert answer.status_code == 200, answer.text
    return {each["plan"]: each for each in answer.json()}


# plans


async def test_every_cell_of_the_plan_table_is_what_is_sold(http: httpx2.AsyncClient) -> None:
    plans = await read_plans(http)
    cells = sold_cells()

    assert len(cells) == 14 * 4
    assert [(plan, field, plans[plan][field]) for plan, field, _ in cells] == cells


async def test_yes_and_no_are_booleans_and_counts_whole_numbers(http: httpx2.AsyncClient) -> None:
    for plan in (await read_plans(http)).values():
        assert {type(plan[field]) for _, field, value in sold_cells() if isinstance(value, bool)} == {bool}
        assert {type(plan[field]) for field in ("messages_per_month", "tokens_per_month", "max_presets")} == {int}


async def test_plans_are_listed_cheapest_first(http: httpx2.AsyncClient) -> None:
    assert list(await read_plans(http)) == ["free", "premium", "unlimited", "enterprise"]


async def test_what_a_plan_may_cost_the_house_is_nobodys_business(http: httpx2.AsyncClient) -> None:
    assert all("ceiling" not in field for plan in (await read_plans(http)).values() for field in plan)


# one's own subscription


@pytest.mark.parametrize("plan", PlanTier)
async def test_the_subscription_says_plan_state_and_period(app: ServedApp, join_app: Join, plan: PlanTier) -> None:
    person = await join_app(app, plan=plan)
    body = (await person.http.get("/api/v1/subscriptions/me")).json()

    assert (body["plan"], body["status"], body["cancel_at"]) == (plan.value, "active", None)
    assert body["period"]["start"] == body["since"]
    start, end = (datetime.fromisoformat(body["period"][edge]) for edge in ("start", "end"))
    assert start <= datetime.now(UTC) < end
    assert timedelta(days=28) <= end - start <= timedelta(days=31)


# usage


async def test_usage_has_the_documented_body(person: Person) -> None:
    usage = await person.usage()

    assert set(usage) >= {"messages", "tokens", "images", "total_cost_usd", "cache_savings_usd"}
    assert all(set(usage[meter]) >= {"used", "limit", "remaining"} for meter in ("messages", "tokens", "images"))


@pytest.mark.parametrize("plan", PlanTier)
async def test_a_new_account_has_its_whole_plan_left(app: ServedApp, join_app: Join, plan: PlanTier) -> None:
    person = await join_app(app, plan=plan)
    usage, sold = await person.usage(), (await read_plans(person.http))[plan.value]

    for meter in ("messages", "tokens", "images"):
        limit = sold[f"{meter}_per_month"]
        assert (usage[meter]["used"], usage[meter]["limit"], usage[meter]["remaining"]) == (0, limit, limit)
    assert (usage["total_cost_usd"], usage["cache_savings_usd"]) == (0, 0)


async def test_an_answer_shows_in_the_usage(person: Person) -> None:
    answer = (await person.chat(await person.begin())).json()
    usage = await person.usage()

    assert (usage["messages"]["used"], usage["messages"]["remaining"]) == (1, 99)
    tokens = answer["usage"]["total_tokens"]
    assert (usage["tokens"]["used"], usage["tokens"]["remaining"]) == (tokens, 100_000 - tokens)
    assert usage["total_cost_usd"] == answer["total_cost_usd"]


async def test_usage_is_ones_own(app: ServedApp, person: Person, join_app: Join) -> None:
    other = await join_app(app)
    await other.chat(await other.begin())

    assert (await person.usage())["messages"]["used"] == 0


async def test_a_new_period_begins_with_nothing_used(serve_app: Serve, join_app: Join) -> None:
    now = datetime.now(UTC)
    person = await join_app(await serve_app(clock=lambda: now))
    await person.chat(await person.begin())
    before = await person.usage()

    now = datetime.fromisoformat(before["resets_at"])
    await log_in_again(person)
    after = await person.usage()
    assert (before["messages"]["used"], after["messages"]["used"]) == (1, 0)
    assert after["period"]["start"] == before["period"]["end"] == before["resets_at"]


async def log_in_again(person: Person) -> None:
    form = {"username": person.email, "password": PASSWORD}
    tokens = (await person.http.post("/api/v1/auth/login", data=form)).json()
    person.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"


async def test_without_tracking_the_charts_are_empty_but_everything_is_charged(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(usage_tracking_enabled=False)
    person = await join_app(app)
    await person.chat(await person.begin())

    async with app.services.database.read_only() as uow:
        assert await uow.ledger.get_days(person.user_id) == {}
        (line,) = await uow.ledger.list_lines(person.user_id)
    usage = await person.usage()
    assert (usage["messages"]["used"], usage["messages"]["reserved"]) == (1, 0)
    assert line.cost_usd == Decimal(str(usage["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"])) > 0
