"""Searching the web: what is found and cited, what is told of it, and what it costs whatever becomes of the answer."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.emulator.process import REQUEST, EmulatorProcess, joined_content, parse_events

pytestmark = pytest.mark.anyio
SONNET, GPT = "anthropic/claude-sonnet-5", "openai/gpt-4o"


def searching(question: str = "What is patience?", *, model: str = GPT, **parameters: Any) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": "openrouter:web_search"} | ({"parameters": parameters} if parameters else {})
    return {"model": model, "messages": [{"role": "user", "content": question}], "tools": [tool]}


async def ask(api: httpx2.AsyncClient, body: dict[str, Any], fault: str = "") -> dict[str, Any]:
    answer = await api.post("/chat/completions", json=body, headers={"X-Emulator-Fault": fault} if fault else {})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def urls(body: dict[str, Any]) -> list[str]:
    return [each["url_citation"]["url"] for each in body["choices"][0]["message"].get("annotations", ())]


def fee_of(body: dict[str, Any]) -> Decimal:
    return Decimal(str(body["usage"]["cost_details"]["server_tool_cost"]))


class TestWhatIsFound:
    async def test_sources_are_cited_at_their_places(self, api: httpx2.AsyncClient) -> None:
        message = (await ask(api, searching()))["choices"][0]["message"]
        for each in message["annotations"]:
            cited = each["url_citation"]
            line = message["content"][cited["start_index"] : cited["end_index"]]
            assert line in message["content"].split("\n")

    async def test_a_stream_cites_the_same(self, api: httpx2.AsyncClient) -> None:
        whole = await ask(api, searching())
        events = parse_events((await api.post("/chat/completions", json=searching() | {"stream": True})).text)
        pieces = [each["choices"][0]["delta"].get("annotations") for each in events[:-2] if each["choices"]]
        assert [each for piece in pieces if piece for each in piece] == whole["choices"][0]["message"]["annotations"]
        assert joined_content(events) == whole["choices"][0]["message"]["content"]

    async def test_no_more_is_cited_than_was_asked_for(self, api: httpx2.AsyncClient) -> None:
        assert len(urls(await ask(api, searching()))) > 1
        assert len(urls(await ask(api, searching(max_results=1)))) == 1

    async def test_only_allowed_domains_are_cited(self, api: httpx2.AsyncClient) -> None:
        found = urls(await ask(api, searching(allowed_domains=["sunnah.example"])))
        assert found
        assert all(each.startswith("https://sunnah.example/") for each in found)

    async def test_excluded_domains_and_what_is_below_them_are_not(self, api: httpx2.AsyncClient) -> None:
        found = urls(await ask(api, searching(excluded_domains=["example.com", "example.org"])))
        assert found
        assert not any("example.com" in each or "example.org" in each for each in found)

    async def test_what_was_found_counts_as_prompt(self, api: httpx2.AsyncClient) -> None:
        few, many = [(await ask(api, searching(max_results=n)))["usage"]["prompt_tokens"] for n in (1, 20)]
        assert many > few + 100


class TestWhatItCosts:
    @pytest.mark.parametrize(
        ("fields", "fee"),
        [
            (searching(model=SONNET), "0.01"),
            (searching(model=SONNET, engine="exa"), "0.007"),
            (searching(), "0.007"),
            (searching(max_results=12), "0.009"),
            (searching(engine="parallel"), "0.005"),
            (searching("Who? When? Where?"), "0.021"),
            (searching("Who? When? Where?", max_uses=2), "0.014"),
            ({"plugins": [{"id": "web"}]}, "0.007"),
            ({"model": "openai/gpt-4o:online"}, "0.007"),
        ],
    )
    async def test_each_search_is_charged(self, api: httpx2.AsyncClient, fields: dict[str, Any], fee: str) -> None:
        body = await ask(api, REQUEST | fields)
        usage = body["usage"]
        assert fee_of(body) == Decimal(fee)
        upstream = Decimal(str(usage["cost_details"]["upstream_inference_cost"]))
        assert Decimal(str(usage["cost"])) - upstream == Decimal(fee)

    async def test_searches_are_counted_here_and_in_the_record(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        body = await ask(api, searching("Who? When?", max_results=4))
        assert body["usage"]["server_tool_use_details"]["web_search_requests"] == 2
        emulator.advance(60)
        record = (await api.get("/generation", params={"id": body["id"]})).json()["data"]
        assert (record["num_search_results"], record["web_search_engine"]) == (8, "exa")

    async def test_an_answer_that_failed_costs_its_search(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        body = searching() | {"stream": True}
        await api.post("/chat/completions", json=body, headers={"X-Emulator-Fault": "error_chunk=0"})
        assert Decimal(str(emulator.bill()["total"])) == Decimal("0.007")


class TestRefusals:
    @pytest.mark.parametrize(
        "parameters",
        [
            {"max_results": 26},
            {"max_results": 0},
            {"max_uses": 0},
            {"engine": "altavista"},
            {"search_context_size": "huge"},
            {"allowed_domains": ["https://example.org/a"]},
            {"allowed_domains": ["a.example"], "excluded_domains": ["b.example"]},
        ],
    )
    async def test_parameters_out_of_bounds(self, api: httpx2.AsyncClient, parameters: dict[str, Any]) -> None:
        assert (await api.post("/chat/completions", json=searching(**parameters))).status_code == 400

    async def test_several_models_cannot_be_named(self, api: httpx2.AsyncClient) -> None:
        answer = await api.post("/chat/completions", json=searching() | {"models": [SONNET]})
        assert (answer.status_code, answer.json().get("error")["message"]) == (400, "Server tool request failed")

    async def test_a_model_without_tools_cannot_search(self, api: httpx2.AsyncClient) -> None:
        answer = await api.post("/chat/completions", json=searching(model="google/gemini-2.5-flash-image"))
        assert answer.status_code == 404
        assert 'Try disabling "openrouter:web_search"' in answer.json()["error"]["message"]
