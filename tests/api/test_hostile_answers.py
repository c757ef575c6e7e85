"""What no store, encoder or screen likes, said by a model: the answer is kept, and what was shown is what is kept."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.support.accounts import Person, parse_events
from tests.support.served import ServedApp
from tests.unit.openrouter.scripted_server import Exchange, serving

pytestmark = pytest.mark.anyio
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.001}
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


class Upstream:
    """Streams ``pieces``, JSON strings as they stand on the wire, and ends with ``last``."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.head: dict[str, Any] = {}
        self.last: dict[str, Any] = {"finish_reason": "stop"}

    async def answer(self, exchange: Exchange) -> None:
        if not exchange.head.startswith("POST"):
            await exchange.answer(404, b"{}")
            return
        head = json.dumps({"id": "gen-1", "model": "openai/gpt-4o", "provider": "OpenAI"} | self.head)[1:-1]
        chunks = [f'{{{head},"choices":[{{"delta":{{"content":{each}}}}}]}}' for each in self.pieces]
        end = json.dumps({"choices": [{"delta": {}} | self.last], "usage": USAGE})[1:-1]
        lines = [*chunks, f"{{{head},{end}}}", "[DONE]"]
        await exchange.stream(*(f"data: {each}\n\n".encode() for each in lines))


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def app(serve_app: Serve, upstream: Upstream) -> AsyncIterator[ServedApp]:
    async with AsyncExitStack() as running:
        server = await running.enter_async_context(serving(upstream.answer))
        yield await serve_app(openrouter_url=server.url)


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        (['"a\\u0000b"', '"\\u0000"', '" c"'], "ab c"),
        (['"\\u202egnihtemos\\u202c "', '"\\u2067end"'], "\u202egnihtemos\u202c \u2067end"),
        (['"line \\r\\n\\n data: [DONE]"'], "line \r\n\n data: [DONE]"),
        ([json.dumps("x" * 100_000), json.dumps("\u0635\u0628\u0631" * 100_000)], "x" * 100_000 + "صبر" * 100_000),
        (['"moon \\ud83c"', '" and star"'], "moon \ufffd and star"),
    ],
    ids=["nul", "right-to-left", "line ends", "long", "half an emoji"],
)
async def test_what_was_shown_is_what_is_kept(person: Person, upstream: Upstream, pieces: list[str], kept: str) -> None:
    upstream.pieces = pieces
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id, stream=True, model="openai/gpt-4o", fallback_models=[])
    events = parse_events(answer.text)
    stored = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"][-1]
    exported = (await person.http.get(f"/api/v1/conversations/{conversation_id}/export")).json()["messages"][-1]

    assert events[-1].name == "message.completed"
    assert "".join(each.data["text"] for each in events if each.name == "content.delta") == kept
    assert events[-1].data["content"] == stored["content"] == exported["content"] == kept
    assert stored["total_cost_usd"] == 0.001


@pytest.mark.parametrize("text", ['{"answer": "a\\u0000b"}', '{"answer": "half \\ud83c"}', '{"answer": "\\u202eb"}'])
async def test_data_that_no_store_can_hold_costs_nobody_the_answer(
    person: Person, upstream: Upstream, text: str
) -> None:
    upstream.pieces = [json.dumps(text[:12]), json.dumps(text[12:])]
    body = {"message": "What is Salah?", "response_schema": SCHEMA, "model": "openai/gpt-4o", "fallback_models": []}
    conversation_id = await person.begin()
    answer = await person.http.post("/api/v1/chat/structured", json={"conversation_id": conversation_id, **body})

    stored = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"][-1]
    assert answer.status_code in (200, 502), answer.text
    assert answer.status_code == 200 or answer.json()["error"] == "schema_not_satisfied"
    assert stored["status"] == ("completed" if answer.status_code == 200 else "failed")


@pytest.mark.parametrize(
    ("head", "last"),
    [
        ({"model": "x" * 5_000}, {}),
        ({"provider": "O\0penAI" * 500}, {}),
        ({"id": "g\0" * 500}, {}),
        ({}, {"finish_reason": "s\0" * 300}),
        ({}, {"native_finish_reason": "s\0" * 300}),
    ],
    ids=["model", "provider", "id", "finish reason", "native finish reason"],
)
async def test_odd_names_upstream_cost_nobody_the_answer(
    person: Person, upstream: Upstream, head: dict[str, Any], last: dict[str, Any]
) -> None:
    upstream.pieces, upstream.head, upstream.last = ['"Prayer."'], head, {"finish_reason": "stop"} | last
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id, model="openai/gpt-4o", fallback_models=[])

    assert (answer.status_code, answer.json().get("content")) == (200, "Prayer."), answer.text
    stored = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"][-1]
    assert (stored["status"], stored["content"]) == ("completed", "Prayer.")
