"""Conversations over HTTP: begin, list, read, rename, delete, and let a model find a title."""

import asyncio
import base64
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import func, select

from app.core.ids import new_id
from app.db.models import Conversation, Message, MessageAttempt, UsageEvent
from app.domain.modes import MODES
from app.domain.quotas import Amounts
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
CONVERSATIONS = "/api/v1/conversations"
NOBODY_LISTENS = "http://127.0.0.1:9/api/v1"
ARABIC = "ما هي أركان الإسلام الخمسة؟ ﷺ"


async def create(person: Person, **body: Any) -> dict[str, Any]:
    answer = await person.http.post(CONVERSATIONS, json=body)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def read(person: Person, conversation_id: str) -> dict[str, Any]:
    answer = await person.http.get(f"{CONVERSATIONS}/{conversation_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def read_page(person: Person, **params: Any) -> dict[str, Any]:
    answer = await person.http.get(CONVERSATIONS, params=params)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def make_title(person: Person, conversation_id: str) -> dict[str, Any]:
    answer = await person.http.post(f"{CONVERSATIONS}/{conversation_id}/generate-title")
    assert answer.status_code == 200, answer.text
    titled: dict[str, Any] = answer.json()
    return titled


async def count_rows(app: ServedApp, person: Person, table: type[Any]) -> int:
    async with app.services.database.read_only() as uow:
        query = select(func.count()).select_from(table).where(table.user_id == person.user_id)
        return (await uow._session.scalars(query)).one()


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


# beginning


async def test_a_new_conversation_is_standard_and_has_no_title(person: Person) -> None:
    created = await create(person)

    assert set(created) == {"id", "title", "mode", "created_at", "updated_at", "active_message_id"} | {
        f"preset_{each}" for each in ("id", "version", "values")
    }
    assert (created["title"], created["mode"]) == (None, "standard")
    assert created["created_at"] == created["updated_at"]
    assert created["created_at"].endswith("Z")


@pytest.mark.parametrize("mode", MODES)
async def test_every_mode_can_be_chosen(person: Person, mode: str) -> None:
    assert (await create(person, mode=mode))["mode"] == mode


async def test_an_unknown_mode_is_refused_with_the_list_of_known_ones(person: Person) -> None:
    answer = await person.http.post(CONVERSATIONS, json={"mode": "oracle"})

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "mode"
    assert answer.json()["allowed"] == list(MODES)


@pytest.mark.parametrize("title", [ARABIC, "🕌🕋", "a\nb", "x" * 200, "'; DROP TABLE messages; --"])
async def test_a_title_is_kept_as_it_was_written(person: Person, title: str) -> None:
    created = await create(person, title=title)

    assert created["title"] == title
    assert (await read(person, created["id"]))["title"] == title


@pytest.mark.parametrize(
    "title", [r"\u0000", r"ab\u0000", r"\ud800", r"\udfff mosque", "", "   ", r"\u2003", "x" * 201]
)
async def test_a_title_that_cannot_be_kept_is_refused(person: Person, title: str) -> None:
    for verb, url in (("POST", CONVERSATIONS), ("PATCH", f"{CONVERSATIONS}/{(await create(person))['id']}")):
        headers = {"Content-Type": "application/json"}
        answer = await person.http.request(verb, url, content=f'{{"title": "{title}"}}', headers=headers)

        assert answer.status_code == 422, answer.text
        assert [each["field"] for each in answer.json()["fields"]] == ["title"]


# listing


async def test_the_list_shows_ones_own_newest_first(person: Person, app: ServedApp, join_app: Join) -> None:
    await create(await join_app(app))
    ids = [(await create(person))["id"] for _ in range(3)]

    page = await read_page(person)
    assert [each["id"] for each in page["items"]] == ids[::-1]
    assert page["next_cursor"] is None


async def test_an_empty_list_is_a_page_too(person: Person) -> None:
    assert await read_page(person) == {"items": [], "next_cursor": None}


async def test_pages_lose_and_double_nothing_while_new_ones_come(person: Person) -> None:
    before = [(await create(person))["id"] for _ in range(7)]

    seen: list[str] = []
    cursor = None
    for _ in range(20):
        page = await read_page(person, limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [each["id"] for each in page["items"]]
        await create(person)
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == before[::-1]


async def test_conversations_of_one_instant_are_paged_completely(serve_app: Serve, join_app: Join) -> None:
    noon = datetime.now(UTC)
    person = await join_app(await serve_app(clock=lambda: noon))
    ids = {(await create(person))["id"] for _ in range(5)}

    first = await read_page(person, limit=3)
    second = await read_page(person, limit=3, cursor=first["next_cursor"])
    seen = [each["id"] for page in (first, second) for each in page["items"]]
    assert set(seen) == ids
    assert len(seen) == 5


async def test_a_page_that_ends_the_list_exactly_has_no_next_one(person: Person) -> None:
    for _ in range(2):
        await create(person)

    assert (await read_page(person, limit=2))["next_cursor"] is None


async def test_a_deleted_conversation_does_not_break_the_cursor_behind_it(person: Person) -> None:
    oldest, middle, _newest = [(await create(person))["id"] for _ in range(3)]
    page = await read_page(person, limit=2)

    await person.http.delete(f"{CONVERSATIONS}/{middle}")
    rest = await read_page(person, cursor=page["next_cursor"])
    assert [each["id"] for each in rest["items"]] == [oldest]


ID = UUID(int=7)


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        "ü",
        "A",
        "\x00",
        cursor_of("2026-01-01T00:00:00"),
        cursor_of(f"2026-01-01T00:00:00|{ID}"),
        cursor_of("2026-01-01T00:00:00+00:00|nobody"),
        cursor_of(f"0001-01-01T00:00:00+14:00|{ID}"),
        cursor_of(f"9999-12-31T23:59:59-14:00|{ID}"),
        cursor_of(f"2026-13-41T00:00:00+00:00|{ID}"),
        cursor_of(f"never|{ID}"),
        base64.urlsafe_b64encode(b"\xff\xfe|").decode(),
        "x" * 201,
    ],
)
async def test_a_cursor_that_is_none_of_ours_is_refused(person: Person, cursor: str) -> None:
    answer = await person.http.get(CONVERSATIONS, params={"cursor": cursor})

    assert answer.status_code == 422, answer.text
    assert answer.json()["fields"][0]["field"] == "cursor"


@pytest.mark.parametrize("limit", ["0", "101", "-1", "many", "1.5"])
async def test_a_page_has_1_to_100_items(person: Person, limit: str) -> None:
    answer = await person.http.get(CONVERSATIONS, params={"limit": limit})

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "limit"


# reading


async def test_a_conversation_shows_what_was_said_oldest_first(person: Person) -> None:
    conversation_id = await person.begin()
    first = (await person.chat(conversation_id, ARABIC)).json()
    second = (await person.chat(conversation_id, "And in English?")).json()

    messages = (await read(person, conversation_id))["messages"]
    assert [each["content"] for each in messages] == [ARABIC, first["content"], "And in English?", second["content"]]
    assert [each["role"] for each in messages] == ["user", "assistant"] * 2
    assert [each["parent_id"] for each in messages] == [None, *(each["id"] for each in messages[:3])]


async def test_an_answer_shows_its_accounting_and_a_question_has_none(person: Person) -> None:
    conversation_id = await person.begin()
    body = (await person.chat(conversation_id)).json()

    question, answer = (await read(person, conversation_id))["messages"]
    assert answer["id"] == body["message_id"]
    assert answer["total_tokens"] == body["usage"]["total_tokens"]
    for field in ("total_cost_usd", "cached_tokens_read", "cache_discount_usd", "fallback_used", "models_attempted"):
        assert answer[field] == body[field]
        assert question[field] is None
    assert answer["final_model_used"] == body["model"]


# changing


async def test_title_and_mode_change_together_or_alone(person: Person) -> None:
    url = f"{CONVERSATIONS}/{(await create(person, title='Before'))['id']}"

    only_mode = (await person.http.patch(url, json={"mode": "quran"})).json()
    assert (only_mode["title"], only_mode["mode"]) == ("Before", "quran")
    both = (await person.http.patch(url, json={"title": ARABIC, "mode": "hadith"})).json()
    assert (both["title"], both["mode"]) == (ARABIC, "hadith")
    assert (await person.http.get(url)).json()["title"] == ARABIC


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"title": None}, "body"),
        ({"title": 7}, "title"),
        ({"title": ["a"]}, "title"),
        ({"mode": "oracle"}, "mode"),
        ({"mode": True}, "mode"),
        ({"title": "a", "id": str(ID)}, "id"),
        ({"user_id": str(ID)}, "user_id"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(person: Person, body: dict[str, Any], field: str) -> None:
    before = await create(person, title="Before")
    answer = await person.http.patch(f"{CONVERSATIONS}/{before['id']}", json=body)

    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["fields"]] == [field]
    assert (await read(person, before["id"])).items() >= before.items()


async def test_renaming_does_not_move_a_conversation_up(person: Person) -> None:
    older, newer = [(await create(person))["id"] for _ in range(2)]
    await person.http.patch(f"{CONVERSATIONS}/{older}", json={"title": "Renamed"})

    assert [each["id"] for each in (await read_page(person))["items"]] == [newer, older]


# deleting


async def test_deleting_takes_everything_under_it_but_the_ledger(app: ServedApp, person: Person) -> None:
    kept, gone = await person.begin(), await person.begin()
    for conversation_id in (kept, gone):
        await person.chat(conversation_id)

    answer = await person.http.delete(f"{CONVERSATIONS}/{gone}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await person.http.get(f"{CONVERSATIONS}/{gone}")).status_code == 404
    counts = {table: await count_rows(app, person, table) for table in (Conversation, Message, MessageAttempt)}
    assert counts == {Conversation: 1, Message: 2, MessageAttempt: 1}
    assert await count_rows(app, person, UsageEvent) == 2
    assert (await person.usage())["messages"]["used"] == 2


async def test_deleting_twice_is_not_found_the_second_time(person: Person) -> None:
    url = f"{CONVERSATIONS}/{await person.begin()}"

    assert [(await person.http.delete(url)).status_code for _ in range(2)] == [204, 404]


async def test_renaming_while_somebody_deletes_never_crashes(person: Person) -> None:
    for _ in range(15):
        url = f"{CONVERSATIONS}/{await person.begin()}"
        renamed, deleted = await asyncio.gather(
            person.http.patch(url, json={"title": "Still here"}), person.http.delete(url)
        )
        assert renamed.status_code in (200, 404), renamed.text
        assert deleted.status_code == 204


# what is not one's own


VERBS = [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/generate-title")]


async def ask_with(person: Person, verb: str, url: str) -> httpx2.Response:
    return await person.http.request(verb, url, json={"title": "Mine now"} if verb == "PATCH" else None)


@pytest.mark.parametrize(("verb", "path"), VERBS)
async def test_somebody_elses_conversation_is_not_found(
    app: ServedApp, person: Person, join_app: Join, verb: str, path: str
) -> None:
    owner = await join_app(app)
    before = await create(owner, title="Private")

    answer = await ask_with(person, verb, f"{CONVERSATIONS}/{before['id']}{path}")
    assert (answer.status_code, answer.json().get("error")) == (404, "not_found")
    assert "Private" not in answer.text
    assert (await read(owner, before["id"])).items() >= before.items()


@pytest.mark.parametrize(("verb", "path"), VERBS)
async def test_an_unknown_conversation_is_not_found(person: Person, verb: str, path: str) -> None:
    answer = await ask_with(person, verb, f"{CONVERSATIONS}/{new_id()}{path}")
    assert (answer.status_code, answer.json().get("error")) == (404, "not_found")


@pytest.mark.parametrize(("verb", "path"), VERBS)
async def test_an_id_that_is_no_uuid_is_refused(person: Person, verb: str, path: str) -> None:
    answer = await ask_with(person, verb, f"{CONVERSATIONS}/7{path}")
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["fields"]] == ["conversation_id"]


# titles


async def test_a_model_names_the_conversation(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id, "What is patience?")
    before = await read(person, conversation_id)

    titled = await make_title(person, conversation_id)

    asked = openrouter.requests()[-1]["body"]
    assert (asked.get("models") or [asked["model"]])[0] == "openai/gpt-4o-mini"
    assert "What is patience?" in asked["messages"][-1]["content"]
    assert titled["title"]
    assert "\n" not in titled["title"]
    assert len(titled["title"]) <= 80
    assert (await read(person, conversation_id))["title"] == titled["title"]
    assert titled["updated_at"] == before["updated_at"]


async def test_the_titles_prompt_does_not_grow_with_the_conversation(
    person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    for _ in range(4):
        await person.chat(conversation_id, "patience " * 1_000, max_tokens=5)
    await make_title(person, conversation_id)

    assert len(openrouter.requests()[-1]["body"]["messages"][-1]["content"]) < 9_000


async def test_without_an_answering_model_the_first_words_are_the_title(serve_app: Serve, join_app: Join) -> None:
    person = await join_app(await serve_app(openrouter_url=NOBODY_LISTENS))
    conversation_id = await person.begin()
    await person.chat(conversation_id, f"  {ARABIC}  ")

    assert (await make_title(person, conversation_id))["title"] == ARABIC


async def test_a_long_first_message_is_cut_between_words(serve_app: Serve, join_app: Join) -> None:
    person = await join_app(await serve_app(openrouter_url=NOBODY_LISTENS))
    conversation_id = await person.begin()
    await person.chat(conversation_id, "Why do people fast in the month of Ramadan, and what does it teach them?")

    assert (await make_title(person, conversation_id))[
        "title"
    ] == "Why do people fast in the month of Ramadan, and what does…"


async def test_an_empty_conversation_gets_a_title_without_asking_anybody(
    person: Person, openrouter: EmulatorProcess
) -> None:
    titled = await make_title(person, await person.begin())

    assert titled["title"] == "New conversation"
    assert openrouter.questions() == []


async def test_a_conversation_deleted_while_its_title_is_made_is_not_found(
    person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id)
    openrouter.configure(first_token_delay=0.5)
    url = f"{CONVERSATIONS}/{conversation_id}"

    titling = asyncio.create_task(person.http.post(f"{url}/generate-title"))
    await asyncio.sleep(0.2)
    await person.http.delete(url)
    assert (await titling).status_code == 404


async def test_parallel_beginnings_make_as_many_conversations(person: Person) -> None:
    answers = await asyncio.gather(*(person.http.post(CONVERSATIONS, json={}) for _ in range(20)))

    assert Counter(each.status_code for each in answers) == {201: 20}
    assert len({each.json()["id"] for each in answers}) == 20


async def test_a_title_costs_the_account_money_but_no_message(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id, "What is patience?")
    before = await person.usage()
    await make_title(person, conversation_id)

    after = await person.usage()
    assert after["messages"] == before["messages"]
    assert after["tokens"]["used"] > before["tokens"]["used"]
    assert Decimal(str(after["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"]))
    assert "models" not in openrouter.requests()[-1]["body"]


async def test_whose_month_is_spent_gets_the_first_words_and_no_model_is_asked(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id, "What is patience?")
    async with app.services.database.unit_of_work() as uow:
        period = (await app.services.subscriptions.get(person.user_id)).period
        spent = Amounts(cost_usd=Decimal(1))
        await uow.quotas.charge(person.user_id, period.start, spent, cache_savings_usd=Decimal(0))
        await uow.commit()
    asked_before = len(openrouter.questions())

    assert (await make_title(person, conversation_id))["title"] == "What is patience?"
    assert len(openrouter.questions()) == asked_before
