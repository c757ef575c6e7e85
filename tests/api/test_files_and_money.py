"""What reading documents costs, when calls fail, bills come late or caches are read: the ledger is the bill, always."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.plans import PlanTier
from app.domain.principal import Role
from app.services.ledger_service import LedgerService
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.ledger import ledger_lines
from tests.support.operators import set_overrides
from tests.support.samples import pdf
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

TEXT_ONLY, CACHING = "qwen/qwen-plus", "anthropic/claude-sonnet-5.5"
BOOK = pdf("Of patience", "Of hope")


class Clock:
    """The real time, moved forward by hand."""

    ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(serve_app: Serve, clock: Clock) -> ServedApp:
    return await serve_app(clock=clock, reconcile_interval_seconds=3600)


@pytest.fixture
async def premium(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def ask(person: Person, **body: Any) -> dict[str, Any]:
    answer = await person.http.post("/api/v1/attachments", files={"file": ("b.pdf", BOOK)})
    asked = await person.chat(
        await person.begin(), attachment_ids=[answer.json()["id"]], **{"model": TEXT_ONLY, "pdf_engine": "ocr"} | body
    )
    assert asked.status_code == 200, asked.text
    found: dict[str, Any] = asked.json()
    return found


async def settled(
    app: ServedApp, person: Person, clock: Clock, openrouter: EmulatorProcess
) -> list[tuple[str, Decimal]]:
    """The account's lines once every bill is there; they are the bill, and the sums are theirs."""
    clock.ahead += timedelta(seconds=6)
    openrouter.advance(6)
    await app.services.reconciliation.run_once()
    lines = await ledger_lines(app, person)
    assert sum((line.cost_usd or Decimal(0) for line in lines), Decimal(0)) == Decimal(openrouter.bill()["total"])
    ledger = LedgerService(settings=lambda: app.services.settings, database=app.services.database)
    assert (await ledger.verify()).differences == ()
    return [(line.kind, line.cost_usd or Decimal(0)) for line in lines]


async def test_what_a_failed_call_read_is_the_houses_and_is_read_once(
    app: ServedApp, premium: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("upstream_503", times=1)
    answer = await ask(premium)

    lines = await settled(app, premium, clock, openrouter)
    assert lines[-1] == ("lost_attempt", Decimal("0.004"))
    assert [kind for kind, _ in lines] == ["chat", "lost_attempt"]
    assert answer["pdf_ocr_cost_usd"] is None
    assert Decimal(str((await premium.usage())["total_cost_usd"])) == lines[0][1]
    assert openrouter.parses()["parsed"] == 1


async def test_a_bill_that_comes_late_has_the_reading_in_it(
    app: ServedApp, premium: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("no_usage", times=1)
    answer = await ask(premium)

    lines = await settled(app, premium, clock, openrouter)
    assert answer["total_cost_usd"] is None
    assert [kind for kind, _ in lines] == ["chat", "late_bill"]
    assert lines[1][1] > Decimal("0.004")


async def test_reading_and_caching_are_both_settled_to_the_last_digit(
    app: ServedApp, premium: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    answer = await ask(premium, model=CACHING, message="Please. " * 2_000)

    assert answer["cached_tokens_write"]
    lines = dict(await settled(app, premium, clock, openrouter))
    assert lines["pdf_ocr"] == Decimal("0.004")
    assert Decimal(str(answer["total_cost_usd"])) == lines["chat"] + lines["pdf_ocr"]


async def test_reading_and_searching_are_two_lines_of_one_bill(
    app: ServedApp, premium: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    answer = await ask(premium, web_search=True)

    lines = dict(await settled(app, premium, clock, openrouter))
    assert lines.pop("late_bill") == 0  # what caching saved, once the record of the call is there
    assert sorted(lines) == ["chat", "pdf_ocr", "web_search"]
    assert lines["pdf_ocr"] == Decimal("0.004")
    assert lines["web_search"] > 0
    assert Decimal(str(answer["total_cost_usd"])) == sum(lines.values())


async def test_a_stream_tells_the_price_as_well(
    app: ServedApp, premium: Person, clock: Clock, openrouter: EmulatorProcess
) -> None:
    file = await premium.http.post("/api/v1/attachments", files={"file": ("b.pdf", BOOK)})
    events = await premium.stream(
        await premium.begin(), attachment_ids=[file.json()["id"]], model=TEXT_ONLY, pdf_engine="ocr"
    )

    assert events[-1].name == "message.completed"
    assert events[-1].data["pdf_ocr_cost_usd"] == 0.004
    assert ("pdf_ocr", Decimal("0.004")) in await settled(app, premium, clock, openrouter)


async def test_the_fee_is_held_before_it_is_spent(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    """A cost limit that the answer would fit into, but not the answer and the reading."""
    app = await serve_app()
    operator, premium = await join_app(app, role=Role.ADMIN), await join_app(app, plan=PlanTier.PREMIUM)
    await set_overrides(operator, premium, {"cost_ceiling_usd_per_month": "0.0035"})
    file = (await premium.http.post("/api/v1/attachments", files={"file": ("b.pdf", BOOK)})).json()["id"]
    body = {"attachment_ids": [file], "model": TEXT_ONLY, "fallback_models": [], "max_tokens": 100}
    refused = await premium.chat(await premium.begin(), pdf_engine="ocr", **body)
    answer = await premium.chat(await premium.begin(), pdf_engine="text", **body)

    assert (refused.status_code, refused.json()["meter"]) == (400, "cost")
    assert answer.status_code == 200, answer.text
    assert openrouter.parses()["fee"] == "0"
