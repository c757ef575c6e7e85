"""Searching the web: what is asked of OpenRouter, what is cited, who may, and that nothing is looked up unasked."""

from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from app.domain.plans import PlanTier
from app.domain.principal import Role
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person
from tests.support.operators import set_overrides
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
GPT, MINI, SONNET, FLUX = "openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-sonnet-5.5", "openai/gpt-5-image"
TOOL = {"type": "openrouter:web_search", "parameters": {"engine": "auto", "max_results": 5, "max_uses": 3}}


def bodies(openrouter: EmulatorProcess) -> list[dict[str, Any]]:
    return [each["body"] for each in openrouter.requests() if "messages" in (each["body"] or ())]


async def search(person: Person, web_search: Any = True, **body: Any) -> httpx2.Response:
    return await person.chat(await person.begin(), "What is patience?", web_search=web_search, **body)


def citations_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [each.data for each in events if each.name == "citation"]


class TestWhatIsSent:
    async def test_the_server_tool_and_nothing_else(self, person: Person, openrouter: EmulatorProcess) -> None:
        assert (await search(person)).status_code == 200
        (body,) = bodies(openrouter)
        assert body["tools"] == [TOOL]
        assert not {"plugins", "web_search_options", "tool_choice"} & set(body)

    async def test_nothing_is_looked_up_unasked(self, person: Person, openrouter: EmulatorProcess) -> None:
        for asked in ({}, {"web_search": False}):
            answer = (await person.chat(await person.begin(), **asked)).json()
            assert answer["citations"] == []
        assert not any("tools" in each for each in bodies(openrouter))

    async def test_options_in_the_wire_s_words_and_always_the_same_order(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        options = {"max_results": 7, "max_searches": 2, "context_size": "low"}
        for domains in (["Sunnah.COM", "bücher.example", "sunnah.com."], ["bücher.example", "sunnah.com"]):
            assert (await search(person, options | {"allowed_domains": domains})).status_code == 200
        first, second = (each["tools"] for each in bodies(openrouter))
        assert first == second
        assert first[0]["parameters"] == {
            "engine": "exa",  # domains are heeded whatever the model
            "max_results": 7,
            "max_uses": 2,
            "search_context_size": "low",
            "allowed_domains": ["sunnah.com", "xn--bcher-kva.example"],
        }

    async def test_excluded_domains_are_not_cited(self, person: Person, openrouter: EmulatorProcess) -> None:
        answer = (await search(person, {"excluded_domains": ["example.org", "example.com"]})).json()
        assert answer["citations"]
        assert not any("example.org" in each["url"] or "example.com" in each["url"] for each in answer["citations"])

    async def test_one_model_a_call_and_only_those_that_can(
        self, person: Person, openrouter: EmulatorProcess, serve_app: Serve, join_app: Join
    ) -> None:
        app = await serve_app(routing_strategy="auto", default_fallback_models="")
        other = await join_app(app, plan=PlanTier.PREMIUM)
        openrouter.fault("http_502", model=SONNET)
        answer = (await search(other, model=SONNET, fallback_models=[FLUX, GPT])).json()
        assert answer["model"] == GPT
        assert any(FLUX in note and "cannot search the web" in note for note in answer["notes"])
        asked = bodies(openrouter)
        assert {each["model"] for each in asked} == {SONNET, GPT}
        assert all(each["tools"] == [TOOL] and "models" not in each for each in asked)

    async def test_asking_again_and_in_other_words(self, person: Person, openrouter: EmulatorProcess) -> None:
        first = (await search(person)).json()
        again = f"/api/v1/chat/messages/{first['message_id']}/regenerate"
        edit = f"/api/v1/chat/messages/{first['user_message_id']}/edit"
        for path, body in (
            (again, {}),
            (again, {"web_search": True}),
            (edit, {"message": "And hope?", "web_search": True}),
        ):
            assert (await person.http.post(path, json=body)).status_code == 200
        assert ["tools" in each for each in bodies(openrouter)] == [True, False, True, True]

    async def test_data_by_a_schema_may_be_looked_up(self, person: Person, openrouter: EmulatorProcess) -> None:
        body = {"conversation_id": await person.begin(), "message": "Rate it", "web_search": True}
        schema = {"type": "object", "properties": {"rating": {"type": "number"}}, "required": ["rating"]}
        answer = await person.http.post("/api/v1/chat/structured", json=body | {"response_schema": schema})
        assert answer.json()["schema_validation_passed"] is True
        assert bodies(openrouter)[0]["tools"] == [TOOL]


class TestCitations:
    async def test_stream_answer_conversation_and_export_name_the_same(self, person: Person) -> None:
        conversation_id = await person.begin()
        events = await person.stream(conversation_id, "What is patience?", web_search=True)
        cited = citations_of(events)
        assert cited
        last = events[-1].data
        assert last["citations"] == cited
        for each in cited:
            assert last["content"][each["start_index"] : each["end_index"]] in last["content"].split("\n")
        path = f"/api/v1/conversations/{conversation_id}"
        question, answer = (await person.http.get(path)).json()["messages"]
        assert (question["citations"], answer["citations"]) == ([], cited)
        exported = (await person.http.get(f"{path}/export")).json()["messages"]
        assert exported[1]["citations"] == cited
        markdown = (await person.http.get(f"{path}/export", params={"format": "markdown"})).text
        links = [f"{number}. [{each['title']}](<{each['url']}>)" for number, each in enumerate(cited, start=1)]
        assert markdown.endswith("\nSources:\n\n" + "\n".join(links) + "\n")

    async def test_they_do_not_go_along_with_the_next_question(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        first = (await person.chat(conversation_id, web_search=True)).json()
        await person.chat(conversation_id, "And hope?")
        sent = bodies(openrouter)[-1]["messages"]
        assert sent[-2] == {"role": "assistant", "content": first["content"]}
        assert not any(each["url"] in str(sent) for each in first["citations"])

    async def test_a_call_that_broke_off_names_none(self, person: Person, openrouter: EmulatorProcess) -> None:
        openrouter.fault("annotations_first", times=1)
        openrouter.fault("error_chunk", params={"after": 20}, times=1)
        events = await person.stream(await person.begin(), "What is patience?", web_search=True)
        names = [each.name for each in events]
        assert "content.reset" in names
        before = citations_of(events[: names.index("content.reset")])
        after = citations_of(events[names.index("content.reset") :])
        assert before
        assert events[-1].data["citations"] == after == before  # named anew, not passed over as known

    @pytest.mark.parametrize("shape", ["unsafe", "zero_offsets", "beyond", "twice"])
    async def test_odd_ones(self, person: Person, openrouter: EmulatorProcess, shape: str) -> None:
        plain = (await search(person)).json()["citations"]
        openrouter.fault("odd_citations", params={"shape": shape})
        odd = (await search(person)).json()["citations"]
        placeless = [each | {"start_index": None, "end_index": None} for each in plain]
        assert odd == {"unsafe": [], "zero_offsets": placeless, "beyond": placeless, "twice": plain}[shape]

    async def test_places_do_not_hold_where_thinking_was_taken_out_of_the_text(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("think_tags")
        answer = (await search(person)).json()
        assert answer["citations"]
        assert {each["start_index"] for each in answer["citations"]} == {None}

    async def test_a_stopped_answer_keeps_those_that_had_come(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("no_done")
        openrouter.fault("heartbeat_forever", params={"tokens": 10_000})
        conversation_id = await person.begin()
        body = {"conversation_id": conversation_id, "message": "What is patience?", "web_search": True, "stream": True}
        async with person.http.stream("POST", "/api/v1/chat", json=body) as stream:
            message_id = ""
            async for line in stream.aiter_lines():
                if line.startswith("data: ") and not message_id:
                    message_id = line.split('"message_id":"')[1][:36]
                if line == "event: citation":
                    break
            ending = (await person.http.post(f"/api/v1/chat/messages/{message_id}/stop")).json()["ending"]
        assert ending["citations"]
        messages = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
        assert messages[1]["citations"] == ending["citations"]


class TestWhoMay:
    async def test_the_free_plan_has_it(self, app: ServedApp, join_app: Join) -> None:
        assert (await search(await join_app(app, plan=PlanTier.FREE))).json()["citations"]

    async def test_an_account_to_which_it_was_closed(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app, plan=PlanTier.FREE)
        operator = await join_app(app, role=Role.ADMIN)
        assert (await set_overrides(operator, person, {"web_search": False})).status_code == 200
        refused = await search(person)
        assert (refused.status_code, refused.json().get("error")) == (403, "feature_not_available")
        assert refused.json()["feature"] == "web_search"
        assert not bodies(openrouter)
        assert (await person.usage())["messages"]["used"] == 0

    async def test_a_server_that_has_it_switched_off(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(web_search_enabled=False)
        person = await join_app(app)
        refused = await search(person)
        assert (refused.status_code, refused.json().get("error")) == (503, "feature_disabled")
        explained = await person.http.get("/api/v1/subscriptions/explain", params={"feature": "web_search"})
        assert explained.json()["why"] == "switched_off"
        assert (await search(person, False)).status_code == 200

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"max_results": 0}, "max_results"),
            ({"max_results": 26}, "max_results"),
            ({"max_searches": 11}, "max_searches"),
            ({"max_results": True}, "max_results"),
            ({"context_size": "huge"}, "context_size"),
            ({"allowed_domains": ["https://example.org"]}, "allowed_domains"),
            ({"allowed_domains": ["localhost"]}, "allowed_domains"),
            ({"excluded_domains": ["127.0.0.1"]}, "excluded_domains"),
            ({"excluded_domains": ["a..b"]}, "excluded_domains"),
            ({"excluded_domains": ["-a.example"]}, "excluded_domains"),
            ({"allowed_domains": ["a.example"] * 51}, "allowed_domains"),
            ({"allowed_domains": ["a.example"], "excluded_domains": ["b.example"]}, "not both"),
            ({"engine": "exa"}, "engine"),
            ("yes", "web_search"),
            (1, "web_search"),
        ],
    )
    async def test_options_that_cannot_be(
        self, person: Person, openrouter: EmulatorProcess, options: Any, field: str
    ) -> None:
        refused = await search(person, options)
        assert (refused.status_code, refused.json().get("error")) == (422, "validation_error")
        assert field in refused.text
        assert not bodies(openrouter)

    async def test_a_model_that_cannot(self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)
        refused = await search(person, model=FLUX)
        assert refused.status_code == 422
        assert "cannot search the web" in refused.json()["detail"]
        assert not bodies(openrouter)
