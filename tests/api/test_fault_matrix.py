"""Every fault of the emulator through the app's own API, held against the table of docs/reliability.md.

Nobody is shown a cut answer as a whole one, and nobody pays for what they did not get.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from app.core.clock import utc_now
from app.db.models import Message, MessageAttempt, QuotaLease, UsageEvent
from app.domain.plans import PlanTier
from app.openrouter.breaker import CircuitBreaker
from app.openrouter.retries import RetryPolicy
from tests.docs.pages import code_words, section, table_rows
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person, join, parse_events
from tests.support.databases import PostgresTemplates, SQLiteTemplates, find_postgres
from tests.support.served import ServedApp, make_settings, serve

pytestmark = pytest.mark.anyio

PAGE = "docs/reliability.md"
FIRST, SECOND = "anthropic/claude-sonnet-5.5", "openai/gpt-4o"
HASTY = {
    "openrouter_first_token_timeout_seconds": 1.0,
    "openrouter_silence_timeout_seconds": 1.0,
    "openrouter_total_timeout_seconds": 2.0,
}
"""For the faults that only a clock ends."""
ENDED_BY_A_CLOCK = {"heartbeat_forever", "slow_headers", "stall_after_tokens", "stall_before_first"}
GENTLER = {"byte_at_a_time": {"size": 7}, "slow": {"tokens_per_second": 400}, "storm_429": {"retry_after": 0}}
"""The same faults, in less time."""
NEVER_NAMED = {"slow_headers"}
"""We leave before a header came: such a call has no name to ask for its bill by."""
A_TRIFLE = Decimal("1e-9")
"""USD. One of the faults writes the cost with noise behind its last digit."""
ASKED_PLAIN = ("after_done", "no_usage", "cut_after_tokens", "error_chunk", "empty_answer", "http_503", "upstream_400")
"""A caller who does not stream gets the same answers: upstream everything is a stream. These show it."""
ON_POSTGRESQL = ("no_usage", "cut_after_tokens", "error_chunk", "stop_without_content", "http_503", "upstream_400")


@dataclass(frozen=True)
class Case:
    """One fault, one form of asking, one place where it strikes, one database; and what the page promises."""

    fault: str
    form: str
    strikes: str
    database: str
    promise: str

    @property
    def id(self) -> str:
        return f"{self.fault}-{self.form}-{self.strikes}-{self.database}"


def promised() -> dict[str, dict[str, str]]:
    """By fault, what each column of the table promises."""
    return {
        fault: dict(zip(("first", "every"), (_outcome(cell) for cell in cells), strict=True))
        for faults, _, *cells in table_rows(section(PAGE, "What each failure comes to"))
        for fault in code_words(faults)
    }


def _outcome(cell: str) -> str:
    return cell.strip("`")


def _cases() -> Iterator[Case]:
    for fault, promises in promised().items():
        for strikes, promise in promises.items():
            if strikes == "every" and promises["first"] == "whole":
                assert promise == "whole", f"{fault}: what harms nobody once harms nobody"
                continue
            yield Case(fault, "streamed", strikes, "sqlite", promise)
            if fault in ASKED_PLAIN:
                yield Case(fault, "plain", strikes, "sqlite", promise)
            if fault in ON_POSTGRESQL and strikes == "first":
                yield Case(fault, "streamed", strikes, "postgresql", promise)


Apps = Callable[[str, bool], Awaitable[ServedApp]]


@pytest.fixture(scope="module")
async def apps(
    tmp_path_factory: pytest.TempPathFactory, emulator_process: EmulatorProcess, run_id: str
) -> AsyncIterator[Apps]:
    """One app for each database and patience, served when first asked for."""
    served: dict[tuple[str, bool], ServedApp] = {}
    async with AsyncExitStack() as running:

        async def app_on(kind: str, hasty: bool) -> ServedApp:
            if (kind, hasty) not in served:
                folder = tmp_path_factory.mktemp("matrix")
                templates = SQLiteTemplates(folder) if kind == "sqlite" else PostgresTemplates(find_postgres(run_id))
                url = await templates.make()
                if isinstance(templates, PostgresTemplates):
                    running.push_async_callback(templates.aclose)
                running.push_async_callback(templates.drop, url)
                settings = make_settings(
                    database_url=url,
                    data_dir=folder,
                    openrouter_url=emulator_process.base_url,
                    routing_strategy="fallback",
                    **(HASTY if hasty else {}),
                )
                served[kind, hasty] = await running.enter_async_context(serve(settings))
            app = served[kind, hasty]
            app.services.openrouter._breaker = CircuitBreaker()  # no case learns from another
            app.services.openrouter._retries = RetryPolicy(first_wait=0.01)
            return app

        yield app_on


@dataclass(frozen=True)
class Ending:
    """How a turn ended for the person: the whole answer, or the code of its last failed call."""

    text: str
    body: dict[str, Any]
    error: str | None

    @property
    def outcome(self) -> str:
        if self.error is not None:
            return self.error
        return "fallback" if self.body["fallback_used"] else "whole"


async def ask(person: Person, conversation_id: str, form: str) -> Ending:
    answer = await person.chat(
        conversation_id, "What is patience?", model=FIRST, fallback_models=[SECOND], stream=form == "streamed"
    )
    if form == "plain":
        body = answer.json()
        failed = answer.status_code != 200
        return Ending(body.get("content", ""), body, body["attempts"][-1]["error"] if failed else None)
    events = parse_events(answer.text)
    last, text = events[-1], text_of(events)
    if last.name == "message.completed":
        assert text == last.data["content"]
        return Ending(text, last.data, None)
    assert last.name == "message.failed"
    return Ending(text, last.data, last.data["attempts"][-1]["error"])


def text_of(events: Sequence[Event]) -> str:
    """What stands on the reader's page at the end."""
    text = ""
    for each in events:
        text = (
            "" if each.name == "content.reset" else text + (each.data["text"] if each.name == "content.delta" else "")
        )
    return text


@dataclass(frozen=True)
class Books:
    """What the app wrote of one person's only turn."""

    message: Message
    attempts: list[MessageAttempt]
    ledger: list[UsageEvent]
    leases: list[QuotaLease]


async def books_of(app: ServedApp, user_id: UUID) -> Books:
    async with app.services.database.read_only() as uow:
        session = uow._session
        message = (
            await session.scalars(select(Message).where(Message.user_id == user_id, Message.role == "assistant"))
        ).one()
        attempts = select(MessageAttempt).where(MessageAttempt.user_id == user_id).order_by(MessageAttempt.ordinal)
        return Books(
            message=message,
            attempts=list(await session.scalars(attempts)),
            ledger=list(await session.scalars(select(UsageEvent).where(UsageEvent.user_id == user_id))),
            leases=list(await session.scalars(select(QuotaLease).where(QuotaLease.user_id == user_id))),
        )


@pytest.mark.parametrize("case", list(_cases()), ids=lambda case: case.id)
async def test_a_fault_comes_to_what_the_page_promises(
    apps: Apps, openrouter: EmulatorProcess, healthy_answers: dict[str, str], case: Case
) -> None:
    await _keeps_its_promise(apps, openrouter, healthy_answers, case, GENTLER.get(case.fault, {}))


async def _keeps_its_promise(
    apps: Apps, openrouter: EmulatorProcess, healthy_answers: dict[str, str], case: Case, params: dict[str, Any]
) -> None:
    app = await apps(case.database, case.fault in ENDED_BY_A_CLOCK)
    person = await join(app, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    struck = {"model": FIRST} if case.strikes == "first" else {}
    openrouter.configure(generation_delay=0)
    openrouter.fault(case.fault, params=params, **struck)

    ending = await ask(person, conversation_id, case.form)
    await _all_calls_ended(openrouter, conversation_id)
    await _receive_late_bills(app, person)
    usage = await person.usage()
    books = await books_of(app, person.user_id)
    await person.http.aclose()

    assert ending.outcome == case.promise
    if ending.error is None:
        _is_whole(ending, books, healthy_answers, openrouter, case)
        _is_charged_once(books, usage, openrouter)
    else:
        _is_told(ending, books)
        _is_free_of_charge(books, usage)
    _is_accounted_for(books, openrouter, conversation_id, known=case.fault not in NEVER_NAMED)


BREAKS = {
    "cut_after_tokens": "tokens",
    "stall_after_tokens": "tokens",
    "malformed_chunk": "at",
    "error_chunk": "after",
    "cut_inside_event": "tokens",
}
"""Faults that end a stream at a place, and what they call the place."""


@pytest.mark.parametrize("place", [0, 40, 60])
@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("strikes", ["first", "every"])
async def test_wherever_a_stream_breaks_it_comes_to_the_same(
    apps: Apps, openrouter: EmulatorProcess, healthy_answers: dict[str, str], fault: str, place: int, strikes: str
) -> None:
    case = Case(fault, "streamed", strikes, "sqlite", promised()[fault][strikes])
    await _keeps_its_promise(apps, openrouter, healthy_answers, case, {BREAKS[fault]: place})


def _is_whole(ending: Ending, books: Books, healthy: dict[str, str], openrouter: EmulatorProcess, case: Case) -> None:
    assert books.message.status == "completed"
    assert books.message.content == ending.text
    assert books.message.finish_reason is not None
    served_by = SECOND if ending.outcome == "fallback" else FIRST
    if served_by == SECOND or not _rewrites_answers(openrouter, case.fault):
        assert ending.text == healthy[served_by]


def _is_charged_once(books: Books, usage: dict[str, Any], openrouter: EmulatorProcess) -> None:
    answered = books.attempts[-1]
    charged = [each for each in books.ledger if each.kind in ("chat", "late_bill")]
    assert (answered.outcome, answered.error_code) == ("completed", None)
    assert {each.generation_id for each in charged} == {answered.generation_id}
    assert [each.messages for each in charged if each.kind == "chat"] == [1]
    assert usage["messages"] == {"used": 1, "limit": 2000, "remaining": 1999, "reserved": 0}
    assert answered.generation_id is not None
    billed = pytest.approx(Decimal(openrouter.bill(answered.generation_id)["total"]), abs=A_TRIFLE)
    assert _sum(charged) == billed
    assert books.message.total_cost_usd == answered.cost_usd == billed
    assert Decimal(str(usage["total_cost_usd"])) == billed
    assert usage["tokens"]["used"] == sum(each.prompt_tokens + each.completion_tokens for each in charged) > 0
    assert [each.state for each in books.leases] == ["settled"]


def _is_told(ending: Ending, books: Books) -> None:
    assert books.message.status == "failed"
    assert ending.text in ("", books.message.content)
    assert books.message.error_code == ending.body["error"]
    assert books.attempts[-1].error_code == ending.error
    assert books.attempts[-1].next_step is None


def _is_free_of_charge(books: Books, usage: dict[str, Any]) -> None:
    assert {each.kind for each in books.ledger} <= {"lost_attempt"}
    assert usage["messages"] == {"used": 0, "limit": 2000, "remaining": 2000, "reserved": 0}
    assert usage["tokens"]["used"] == usage["tokens"]["reserved"] == usage["total_cost_usd"] == 0
    assert [each.state for each in books.leases] == ["released"]


def _is_accounted_for(books: Books, openrouter: EmulatorProcess, conversation_id: str, *, known: bool) -> None:
    """Each call upstream is one row, and every cent of the bill stands in the rows and in the ledger."""
    assert [each.ordinal for each in books.attempts] == list(range(1, len(books.attempts) + 1))
    assert all(each.error_code and each.next_step for each in books.attempts[:-1])
    assert len(openrouter.requests(session_id=conversation_id)) == len(books.attempts)
    assert _sum(books.attempts) == _sum(books.ledger)
    if known:
        billed = [each for each in openrouter.bill()["generations"] if each["session_id"] == conversation_id]
        total = sum((Decimal(each["cost"]) for each in billed), Decimal(0))
        assert _sum(books.ledger) == pytest.approx(total, abs=A_TRIFLE)


def _sum(rows: Sequence[MessageAttempt] | Sequence[UsageEvent]) -> Decimal:
    return sum((each.cost_usd or Decimal(0) for each in rows), Decimal(0))


async def _all_calls_ended(openrouter: EmulatorProcess, conversation_id: str) -> None:
    """What we hung up on ends upstream a moment later, and is billed then."""
    for _ in range(40):
        if all(each["finished_at"] or each["aborted_at"] for each in openrouter.requests(session_id=conversation_id)):
            return
        await asyncio.sleep(0.05)


async def _receive_late_bills(app: ServedApp, person: Person) -> None:
    """Let hours pass, as far as the reconciliation can tell, until every bill that is still to come has come."""
    for hours in range(1, 12):
        async with app.services.database.read_only() as uow:
            if await uow.bills.count_unbilled(person.user_id) == 0:
                return
        app.services.reconciliation._clock = lambda hours=hours: utc_now() + timedelta(hours=hours)
        await app.services.reconciliation.run_once()
        await asyncio.sleep(0.05 * hours)


def _rewrites_answers(openrouter: EmulatorProcess, fault: str) -> bool:
    known = openrouter.control.get("/faults/catalogue").json()["faults"]
    return any(each["name"] == fault and "answer" in each["stages"] for each in known)


@pytest.fixture(scope="module")
async def healthy_answers(apps: Apps, emulator_process: EmulatorProcess) -> dict[str, str]:
    """What each model says when nothing is wrong."""
    app = await apps("sqlite", False)
    person = await join(app, plan=PlanTier.PREMIUM)
    answers = {}
    for model in (FIRST, SECOND):
        answer = await person.chat(await person.begin(), "What is patience?", model=model, fallback_models=[])
        answers[model] = str(answer.json()["content"])
    await person.http.aclose()
    return answers


def _forms_of_an_error() -> list[tuple[str, str]]:
    rows = table_rows(section(PAGE, "However the error is written"))
    return [(code_words(form)[0], code_words(outcome)[0]) for form, outcome in rows]


@pytest.mark.parametrize(("form", "outcome"), _forms_of_an_error())
async def test_an_error_means_the_same_however_it_is_written(
    apps: Apps, openrouter: EmulatorProcess, form: str, outcome: str
) -> None:
    app = await apps("sqlite", False)
    person = await join(app, plan=PlanTier.PREMIUM)
    openrouter.fault("http_503")
    openrouter.fault(form)

    ending = await ask(person, await person.begin(), "streamed")
    await person.http.aclose()

    assert ending.outcome == outcome


async def test_every_form_of_an_error_is_tried(openrouter: EmulatorProcess) -> None:
    known = openrouter.control.get("/faults/catalogue").json()["faults"]

    assert {form for form, _ in _forms_of_an_error()} == {each["name"] for each in known if "error" in each["stages"]}


async def test_every_fault_has_a_row(openrouter: EmulatorProcess) -> None:
    known = {each["name"] for each in openrouter.control.get("/faults/catalogue").json()["faults"]}

    assert set(promised()) == known
