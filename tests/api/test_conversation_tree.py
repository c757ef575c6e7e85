"""The tree of a conversation over HTTP: ask again, ask in other words, go on elsewhere, switch between branches."""

import asyncio
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from app.core.ids import new_id
from app.db.models import Message, UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person, parse_events
from tests.support.conversations import add_branch
from tests.support.served import ServedApp
from tests.support.statements import counted_statements

pytestmark = pytest.mark.anyio


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def regenerate(person: Person, message_id: str, **body: Any) -> httpx2.Response:
    return await person.http.post(f"/api/v1/chat/messages/{message_id}/regenerate", json=body)


async def edit(person: Person, message_id: str, message: str, **body: Any) -> httpx2.Response:
    return await person.http.post(f"/api/v1/chat/messages/{message_id}/edit", json={"message": message, **body})


async def activate(person: Person, conversation_id: str, message_id: str) -> httpx2.Response:
    return await person.http.patch(f"/api/v1/conversations/{conversation_id}", json={"active_message_id": message_id})


async def read(person: Person, conversation_id: str, **params: Any) -> dict[str, Any]:
    answer = await person.http.get(f"/api/v1/conversations/{conversation_id}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def asked_texts(person: Person, conversation_id: str) -> list[str]:
    """The questions of the active branch."""
    messages = (await read(person, conversation_id))["messages"]
    return [each["content"] for each in messages if each["role"] == "user"]


def sent_texts(openrouter: EmulatorProcess, conversation_id: str) -> list[str]:
    """What the newest call of the conversation sent behind the system prompt."""
    messages = openrouter.requests(session_id=conversation_id)[-1]["body"]["messages"]
    assert messages[0]["role"] == "system"
    return [_text_of(each["content"]) for each in messages[1:]]


def _text_of(content: str | list[dict[str, Any]]) -> str:
    """What a message says, whether or not its parts are marked for a cache."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def ask_three(person: Person) -> tuple[str, list[dict[str, Any]]]:
    """A conversation of three turns."""
    conversation_id = await person.begin()
    replies = [await person.chat(conversation_id, f"Question {n}") for n in "ABC"]
    assert {each.status_code for each in replies} == {200}
    return conversation_id, [each.json() for each in replies]


class TestRegenerating:
    async def test_the_question_is_sent_with_what_came_before_it_and_nothing_else(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (first, second, _third) = await ask_three(person)
        answer = await regenerate(person, second["message_id"])

        assert answer.status_code == 200, answer.text
        assert sent_texts(openrouter, conversation_id) == ["Question A", first["content"], "Question B"]

    async def test_the_new_answer_stands_beside_the_old_one_and_is_shown(self, person: Person) -> None:
        conversation_id, (_first, second, _third) = await ask_three(person)
        again = (await regenerate(person, second["message_id"])).json()

        shown = await read(person, conversation_id)
        assert again["user_message_id"] == second["user_message_id"]
        assert shown["active_message_id"] == again["message_id"]
        assert [each["content"] for each in shown["messages"]][::2] == ["Question A", "Question B"]
        last = shown["messages"][-1]
        assert (last["id"], last["parent_id"]) == (again["message_id"], second["user_message_id"])
        assert last["sibling_ids"] == [second["message_id"], again["message_id"]]
        assert (last["sibling_count"], last["sibling_index"]) == (2, 2)
        assert {(each["sibling_count"], each["sibling_index"]) for each in shown["messages"][:-1]} == {(1, 1)}

    async def test_naming_the_question_does_the_same(self, person: Person, openrouter: EmulatorProcess) -> None:
        conversation_id, (first, second, _third) = await ask_three(person)
        again = (await regenerate(person, second["user_message_id"])).json()

        assert again["user_message_id"] == second["user_message_id"]
        assert sent_texts(openrouter, conversation_id) == ["Question A", first["content"], "Question B"]

    async def test_the_conversation_goes_on_from_the_answer_that_is_shown(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (first, _second, _third) = await ask_three(person)
        again = (await regenerate(person, first["message_id"], max_tokens=5)).json()
        await person.chat(conversation_id, "And then?")

        assert again["content"] != first["content"]
        assert sent_texts(openrouter, conversation_id) == ["Question A", again["content"], "And then?"]

    async def test_it_streams_the_same_events_as_asking(self, person: Person) -> None:
        _, (first, *_) = await ask_three(person)
        events = parse_events((await regenerate(person, first["message_id"], stream=True)).text)

        assert [events[0].name, events[-1].name] == ["message.started", "message.completed"]
        assert events[0].data["user_message_id"] == first["user_message_id"]
        assert "content.delta" in {each.name for each in events}

    async def test_it_costs_a_message_and_holds_its_options(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (first, *_) = await ask_three(person)
        again = await regenerate(person, first["message_id"], model="openai/gpt-4o", temperature=0.1, max_tokens=7)

        body = openrouter.requests(session_id=conversation_id)[-1]["body"]
        assert (body["temperature"], body["max_tokens"]) == (0.1, 7)
        assert again.json()["model"] == "openai/gpt-4o"
        assert (await person.usage())["messages"]["used"] == 4
        async with app.services.database.read_only() as uow:
            lines = (await uow._session.scalars(select(UsageEvent).where(UsageEvent.user_id == person.user_id))).all()
        assert sum(each.messages for each in lines) == 4

    async def test_the_preset_of_the_answer_holds_unless_another_is_named(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        preset = (
            await person.http.post(
                "/api/v1/presets",
                json={"name": "Short", "slug": "short", "model": "openai/gpt-4o", "system_prompt": "Be brief."},
            )
        ).json()
        first = (await person.chat(conversation_id, preset_id=preset["id"])).json()
        await regenerate(person, first["message_id"])

        body = openrouter.requests(session_id=conversation_id)[-1]["body"]
        assert body["messages"][0]["content"] == "Be brief."

    async def test_a_failed_answer_is_made_good(self, person: Person, openrouter: EmulatorProcess) -> None:
        conversation_id = await person.begin()
        openrouter.fault("http_503")
        failed = await person.chat(conversation_id, model="openai/gpt-4o", fallback_models=[])
        openrouter.control.delete("/faults")
        assert failed.status_code == 502
        answer_id = (await read(person, conversation_id))["active_message_id"]

        assert (await regenerate(person, answer_id)).status_code == 200
        assert sent_texts(openrouter, conversation_id) == ["What is Salah?"]
        assert [each["status"] for each in (await read(person, conversation_id))["messages"]] == ["completed"] * 2


class TestWhileAnAnswerIsWritten:
    async def test_the_answer_that_runs_is_not_made_twice(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        openrouter.configure(first_token_delay=1)
        running = asyncio.create_task(person.chat(conversation_id))
        while not openrouter.requests(session_id=conversation_id):  # noqa: ASYNC110  (another process knows)
            await asyncio.sleep(0.02)
        question, answer = (await read(person, conversation_id))["messages"]

        for named in (question["id"], answer["id"]):
            refused = await regenerate(person, named)
            assert (refused.status_code, refused.json().get("error")) == (409, "answer_still_running")
        behind = await person.chat(conversation_id, parent_id=answer["id"])
        assert (behind.status_code, behind.json().get("error")) == (409, "answer_still_running")
        assert (await running).status_code == 200
        assert (await person.usage())["messages"] == {"used": 1, "limit": 2000, "remaining": 1999, "reserved": 0}

    async def test_of_many_who_regenerate_at_once_one_is_let_in(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        first = (await person.chat(await person.begin())).json()
        openrouter.configure(first_token_delay=0.5)
        answers = await asyncio.gather(*(regenerate(person, first["message_id"]) for _ in range(5)))

        assert sorted(each.status_code for each in answers) == [200, 409, 409, 409, 409]
        assert (await person.usage())["messages"]["used"] == 2

    async def test_two_questions_at_the_same_point_are_two_branches_and_the_later_one_is_shown(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        start = (await person.chat(conversation_id, "Start")).json()
        openrouter.configure(first_token_delay=0.3)
        answers = await asyncio.gather(*(person.chat(conversation_id, f"Question {n}") for n in range(4)))
        assert {each.status_code for each in answers} == {200}

        everything = (await read(person, conversation_id, tree="all"))["messages"]
        questions = [each for each in everything if each["content"].startswith("Question")]
        assert {each["parent_id"] for each in questions} == {start["message_id"]}
        assert {each["sibling_count"] for each in questions} == {4}
        assert [each["sibling_index"] for each in questions] == [1, 2, 3, 4]
        assert len(everything) == 10
        shown = await read(person, conversation_id)
        assert len(shown["messages"]) == 4
        ends = {each.json()["message_id"] for each in answers}
        assert shown["active_message_id"] in ends
        for request in openrouter.requests(session_id=conversation_id)[1:]:
            assert [each["content"] for each in request["body"]["messages"][1:3]] == ["Start", start["content"]]

    async def test_deleting_the_conversation_meanwhile_is_safe(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        first = (await person.chat(conversation_id)).json()
        openrouter.configure(first_token_delay=0.5)
        turns = [
            asyncio.create_task(regenerate(person, first["message_id"])),
            asyncio.create_task(edit(person, first["user_message_id"], "In other words")),
        ]
        while len(openrouter.requests(session_id=conversation_id)) < 3:  # noqa: ASYNC110  (another process knows)
            await asyncio.sleep(0.02)
        assert (await person.http.delete(f"/api/v1/conversations/{conversation_id}")).status_code == 204

        assert {(await each).status_code for each in turns} == {200}
        async with app.services.database.read_only() as uow:
            assert (await uow._session.scalars(select(Message).where(Message.user_id == person.user_id))).all() == []
        assert (await person.usage())["messages"]["used"] == 3

    async def test_asking_while_somebody_deletes_never_crashes(self, person: Person) -> None:
        for _ in range(5):
            conversation_id = await person.begin()
            first = (await person.chat(conversation_id, max_tokens=5)).json()
            again, deleted = await asyncio.gather(
                regenerate(person, first["message_id"], max_tokens=5),
                person.http.delete(f"/api/v1/conversations/{conversation_id}"),
            )
            assert again.status_code in (200, 404), again.text
            assert deleted.status_code == 204


class TestEditing:
    async def test_the_new_question_is_sent_with_what_came_before_the_old_one(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (first, second, _third) = await ask_three(person)
        edited = (await edit(person, second["user_message_id"], "Question B, better")).json()

        assert sent_texts(openrouter, conversation_id) == ["Question A", first["content"], "Question B, better"]
        assert edited["user_message_id"] != second["user_message_id"]
        assert await asked_texts(person, conversation_id) == ["Question A", "Question B, better"]

    async def test_the_first_question_can_be_edited_and_nothing_is_lost(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (first, *_) = await ask_three(person)
        await edit(person, first["user_message_id"], "Another beginning")

        assert sent_texts(openrouter, conversation_id) == ["Another beginning"]
        everything = (await read(person, conversation_id, tree="all"))["messages"]
        assert len(everything) == 8
        beginnings = [each for each in everything if each["parent_id"] is None]
        assert [(each["content"], each["sibling_index"]) for each in beginnings] == [
            ("Question A", 1),
            ("Another beginning", 2),
        ]

    async def test_an_answer_cannot_be_edited(self, person: Person) -> None:
        first = (await person.chat(await person.begin())).json()
        answer = await edit(person, first["message_id"], "In other words")

        assert answer.status_code == 422
        assert answer.json()["fields"][0]["field"] == "message_id"


class TestGoingOnElsewhere:
    async def test_a_question_behind_an_earlier_answer_makes_a_branch(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (first, *_) = await ask_three(person)
        elsewhere = await person.chat(conversation_id, "Elsewhere", parent_id=first["message_id"])

        assert elsewhere.status_code == 200
        assert sent_texts(openrouter, conversation_id) == ["Question A", first["content"], "Elsewhere"]
        assert await asked_texts(person, conversation_id) == ["Question A", "Elsewhere"]

    async def test_a_question_is_no_place_to_go_on_from(self, person: Person) -> None:
        conversation_id, (first, *_) = await ask_three(person)
        answer = await person.chat(conversation_id, parent_id=first["user_message_id"])

        assert answer.status_code == 422
        assert answer.json()["fields"][0]["field"] == "parent_id"

    async def test_an_answer_of_another_conversation_is_not_found(self, person: Person) -> None:
        first = (await person.chat(await person.begin())).json()
        for parent_id in (first["message_id"], str(new_id())):
            answer = await person.chat(await person.begin(), parent_id=parent_id)
            assert (answer.status_code, answer.json().get("error")) == (404, "not_found")


class TestSwitching:
    async def test_a_branch_that_was_left_is_shown_again_to_its_end(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (_first, second, third) = await ask_three(person)
        await edit(person, second["user_message_id"], "Question B, better")
        before = await read(person, conversation_id)

        changed = await activate(person, conversation_id, second["user_message_id"])

        assert changed.json()["active_message_id"] == third["message_id"]
        assert changed.json()["updated_at"] == before["updated_at"]
        assert await asked_texts(person, conversation_id) == ["Question A", "Question B", "Question C"]
        await person.chat(conversation_id, "Question D")
        assert sent_texts(openrouter, conversation_id)[-2:] == [third["content"], "Question D"]

    async def test_where_a_branch_parts_the_newest_way_is_shown(self, person: Person) -> None:
        conversation_id, (first, second, _third) = await ask_three(person)
        edited = (await edit(person, second["user_message_id"], "Question B, better")).json()
        await edit(person, first["user_message_id"], "Another beginning")

        changed = await activate(person, conversation_id, first["user_message_id"])

        assert changed.json()["active_message_id"] == edited["message_id"]

    async def test_a_message_of_another_conversation_cannot_be_shown(self, person: Person) -> None:
        conversation_id, (first, *_) = await ask_three(person)
        other = await person.begin()

        for message_id in (first["message_id"], str(new_id())):
            answer = await activate(person, other, message_id)
            assert answer.status_code == 422
            assert answer.json()["fields"][0]["field"] == "active_message_id"
        assert (await read(person, conversation_id))["messages"] != []


class TestWhatIsNotOnesOwn:
    async def test_another_persons_messages_are_not_found(
        self, app: ServedApp, person: Person, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        stranger = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        first = (await person.chat(conversation_id)).json()
        asked = len(openrouter.questions())

        answers = [
            await regenerate(stranger, first["message_id"]),
            await edit(stranger, first["user_message_id"], "Mine"),
            await stranger.chat(await stranger.begin(), parent_id=first["message_id"]),
            await activate(stranger, conversation_id, first["message_id"]),
        ]
        assert {(each.status_code, each.json().get("error")) for each in answers} == {(404, "not_found")}
        assert len(openrouter.questions()) == asked


class TestRepeating:
    async def test_a_key_joins_the_same_request_and_refuses_another(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, (first, second, _third) = await ask_three(person)
        url = f"/api/v1/chat/messages/{first['message_id']}/regenerate"
        headers = {"Idempotency-Key": f"again-{conversation_id}"}

        told = [await person.http.post(url, json={}, headers=headers) for _ in range(3)]
        other = await person.http.post(url.replace(first["message_id"], second["message_id"]), headers=headers)

        assert {each.status_code for each in told} == {200}
        assert len({each.content for each in told}) == 1
        assert (other.status_code, other.json().get("error")) == (409, "idempotency_key_reused")
        assert len(openrouter.requests(session_id=conversation_id)) == 4


class TestLimits:
    async def test_asking_again_counts_against_the_plans_minute(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(rate_limits_enabled=True)
        person = await join_app(app)
        first = (await person.chat(await person.begin())).json()
        answers = [await regenerate(person, first["message_id"]) for _ in range(3)]
        answers += [await edit(person, first["user_message_id"], "Once more") for _ in range(2)]

        assert [each.status_code for each in answers] == [200, 200, 200, 200, 429]
        assert answers[-1].headers["RateLimit-Policy"] == '"model";q=5;w=60'

    async def test_a_seat_is_taken_as_for_asking(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(await serve_app(max_running_answers_per_user=1), plan=PlanTier.PREMIUM)
        first = (await person.chat(await person.begin())).json()
        openrouter.configure(first_token_delay=0.5)
        answers = await asyncio.gather(
            regenerate(person, first["message_id"]), edit(person, first["user_message_id"], "Once more")
        )

        assert sorted(each.status_code for each in answers) == [200, 429]


async def test_a_long_conversation_opens_in_a_constant_number_of_statements(app: ServedApp, person: Person) -> None:
    counts = []
    for length in (2, 1_000):
        conversation_id = await person.begin()
        await add_branch(app.services.database, person.user_id, conversation_id, messages=length)
        with counted_statements(app) as statements:
            shown = await read(person, conversation_id)
        assert len(shown["messages"]) == length
        counts.append(len(statements))

    assert 3 <= counts[0] == counts[1] <= 6, statements


async def test_a_question_asked_in_very_many_ways_stays_small_to_read(app: ServedApp, person: Person) -> None:
    conversation_id, count = await person.begin(), 300
    ids = [
        str((await add_branch(app.services.database, person.user_id, conversation_id, messages=1))[0])
        for _ in range(count)
    ]
    shown = (await read(person, conversation_id, tree="all"))["messages"]

    assert [each["id"] for each in shown] == ids
    assert [each["sibling_index"] for each in shown] == list(range(1, count + 1))
    assert {each["sibling_count"] for each in shown} == {count}
    assert {len(each["sibling_ids"]) for each in shown} == {20}
    for at, each in enumerate(shown):
        start = ids.index(each["sibling_ids"][0])
        assert each["sibling_ids"] == ids[start : start + 20]
        assert {ids[max(0, at - 1)], ids[at], ids[min(count - 1, at + 1)]} <= set(each["sibling_ids"])
