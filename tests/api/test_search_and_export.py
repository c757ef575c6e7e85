"""Finding conversations by what was said, and taking them away."""

import json
from typing import Any

import pytest

from app.domain.plans import PlanTier
from tests.conftest import Join
from tests.support.accounts import Person
from tests.support.conversations import add_branch
from tests.support.served import ServedApp
from tests.support.statements import counted_statements

pytestmark = pytest.mark.anyio
CONVERSATIONS = "/api/v1/conversations"


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def write(app: ServedApp, person: Person, text: str, **head: Any) -> str:
    """A conversation in which this was said."""
    conversation_id = await person.begin(**head)
    await add_branch(app.services.database, person.user_id, conversation_id, messages=2, text=text)
    return conversation_id


async def search(person: Person, q: str, **params: Any) -> list[str]:
    answer = await person.http.get(CONVERSATIONS, params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["items"]]


class TestSearching:
    @pytest.mark.parametrize(
        ("said", "q"),
        [
            ("The Five Pillars", "five pillars"),
            ("ٱلْحَمْدُ لِلَّهِ رَبِّ ٱلْعَالَمِينَ", "الحمد العالمين"),
            ("می‌خواهم نماز بخوانم", "ميخواهم"),
            ("a sound ḥadīth of al-Bukhārī", "Hadith bukhari"),
            ("ПОСТ В РАМАДАН", "рамадан"),
            ("50% of \\ it_", "50% it"),
        ],
    )
    async def test_it_is_found_however_it_was_written(self, app: ServedApp, person: Person, said: str, q: str) -> None:
        found = await write(app, person, said)
        await write(app, person, "something else")

        assert await search(person, q) == [found]

    async def test_titles_are_searched_too(self, app: ServedApp, person: Person) -> None:
        found = await write(app, person, "nothing of the kind", title="Zakāt and who owes it")
        await person.begin(title="Prayer")

        assert await search(person, "zakat") == [found]

    async def test_all_words_stand_in_one_message(self, app: ServedApp, person: Person) -> None:
        conversation_id = await person.begin(title="fasting")
        await add_branch(app.services.database, person.user_id, conversation_id, messages=2, text="prayer")

        assert await search(person, "fasting prayer") == []
        assert await search(person, "prayer 1") == [conversation_id]

    async def test_what_others_said_is_never_found(self, app: ServedApp, person: Person, join_app: Join) -> None:
        await write(app, await join_app(app), "a secret of mine", title="a secret too")

        assert await search(person, "secret") == []

    async def test_every_branch_is_searched(self, app: ServedApp, person: Person) -> None:
        conversation_id = await write(app, person, "left behind")
        await add_branch(app.services.database, person.user_id, conversation_id, messages=2, text="shown")

        assert await search(person, "behind") == [conversation_id]

    @pytest.mark.parametrize("q", ["?", "ً", "'"])
    async def test_signs_alone_find_nothing(self, app: ServedApp, person: Person, q: str) -> None:
        await write(app, person, f"what{q}")

        assert await search(person, q) == []

    @pytest.mark.parametrize("q", ["", "   "])
    async def test_a_search_for_nothing_is_the_list(self, app: ServedApp, person: Person, q: str) -> None:
        assert await search(person, q) == []
        conversation_id = await person.begin()
        assert await search(person, q) == [conversation_id]

    async def test_pages_lose_and_double_nothing(self, app: ServedApp, person: Person) -> None:
        found = []
        for number in range(7):
            found.append(await write(app, person, f"prayer {number}"))
            await write(app, person, "something else")

        seen: list[str] = []
        cursor: str | None = None
        while True:
            params = {"q": "prayer", "limit": 3} | ({"cursor": cursor} if cursor else {})
            page = (await person.http.get(CONVERSATIONS, params=params)).json()
            seen += [each["id"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == found[::-1]

    @pytest.mark.parametrize("q", ["x" * 201, "\x00"])
    async def test_what_cannot_be_looked_for_is_refused(self, person: Person, q: str) -> None:
        answer = await person.http.get(CONVERSATIONS, params={"q": q})

        assert answer.status_code == 422
        assert answer.json()["fields"][0]["field"] == "q"


async def export(person: Person, conversation_id: str, format: str) -> Any:
    answer = await person.http.get(f"{CONVERSATIONS}/{conversation_id}/export", params={"format": format})
    assert answer.status_code == 200, answer.text
    return answer


class TestExporting:
    async def test_json_holds_every_branch_and_every_field(self, person: Person) -> None:
        conversation_id = await person.begin(title="Prayer")
        first = (await person.chat(conversation_id, "Before")).json()
        url = f"/api/v1/chat/messages/{first['user_message_id']}/edit"
        await person.http.post(url, json={"message": "In other words"})

        answer = await export(person, conversation_id, "json")

        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        shown = (await person.http.get(f"{CONVERSATIONS}/{conversation_id}", params={"tree": "all"})).json()
        of_now = {"messages", "preset_newest_version"}
        siblings = {"sibling_ids", "sibling_count", "sibling_index"}
        assert body["messages"] == [
            {name: value for name, value in each.items() if name not in siblings} for each in shown["messages"]
        ]
        assert body["conversation"] == {name: value for name, value in shown.items() if name not in of_now}
        assert len(body["messages"]) == 4

    async def test_markdown_reads_as_what_is_shown(self, person: Person) -> None:
        conversation_id = await person.begin(title="The five\npillars")
        first = (await person.chat(conversation_id, "Before")).json()
        url = f"/api/v1/chat/messages/{first['user_message_id']}/edit"
        second = (await person.http.post(url, json={"message": "In other words"})).json()

        answer = await export(person, conversation_id, "markdown")

        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        lines = answer.text.splitlines()
        assert lines[0] == "# The five pillars"
        assert [line.split(" (")[0] for line in lines if line.startswith("**")] == ["**Question**", "**Answer**"]
        assert "In other words" in answer.text
        assert second["content"] in answer.text
        assert second["model"] in answer.text
        assert "Before" not in lines

    @pytest.mark.parametrize("format", ["json", "markdown"])
    async def test_a_long_one_comes_whole_in_order_and_in_few_statements(
        self, app: ServedApp, person: Person, format: str
    ) -> None:
        conversation_id = await person.begin()
        await add_branch(app.services.database, person.user_id, conversation_id, messages=1_001)
        with counted_statements(app) as statements:
            text = (await export(person, conversation_id, format)).text

        said = [f"Message {number}" for number in range(1_001)]
        if format == "json":
            assert [each["content"] for each in json.loads(text)["messages"]] == said
        else:
            assert [line for line in text.splitlines() if line.startswith("Message")] == said
        assert len([each for each in statements if each.startswith(("SELECT", "WITH"))]) <= 10

    @pytest.mark.parametrize(
        ("title", "name"),
        [
            ("Prayer", "Prayer.md"),
            ("ما هي أركان الإسلام؟", "%D9%85%D8%A7%20%D9%87%D9%8A%20"),
            ('../../etc/"passwd"\r\nX: y', "etc%20passwd%20X%20y.md"),
            ("...", "conversation-"),
            ("x" * 200, "x" * 80 + ".md"),
        ],
    )
    async def test_the_files_name_is_safe(self, person: Person, title: str, name: str) -> None:
        conversation_id = await person.begin(title=title)
        answer = await export(person, conversation_id, "markdown")

        disposition = answer.headers["content-disposition"]
        plain, told = disposition.removeprefix("attachment; ").split("; filename*=UTF-8''")
        assert plain == f'filename="conversation-{conversation_id}.md"'
        assert told.startswith(name)
        assert not set(told) & set('/\\"<>:|?*\r\n')
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_somebody_elses_is_not_found(self, app: ServedApp, person: Person, join_app: Join) -> None:
        conversation_id = await person.begin()
        stranger = await join_app(app)

        answer = await stranger.http.get(f"{CONVERSATIONS}/{conversation_id}/export")
        assert (answer.status_code, answer.json().get("error")) == (404, "not_found")

    async def test_an_unknown_format_is_refused(self, person: Person) -> None:
        answer = await person.http.get(f"{CONVERSATIONS}/{await person.begin()}/export", params={"format": "pdf"})

        assert answer.status_code == 422
        assert answer.json()["fields"][0]["field"] == "format"
