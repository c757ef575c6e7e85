"""`POST /chat/completions` as JSON and as a stream."""

import json
import re
from decimal import Decimal

import httpx2
import pytest

from tests.emulator.process import REQUEST, EmulatorProcess, joined_content, parse_events

pytestmark = pytest.mark.anyio


class TestWholeAnswer:
    async def test_it_has_the_documented_shape(self, api: httpx2.AsyncClient) -> None:
        response = await api.post("/chat/completions", json=REQUEST)
        body = response.json()
        assert response.status_code == 200
        assert re.fullmatch(r"gen-\d{10}-[A-Za-z0-9]{20}", body["id"])
        assert response.headers["x-generation-id"] == body["id"]
        assert body["object"] == "chat.completion"
        assert body["model"] == "openai/gpt-4o"
        assert body["choices"][0]["finish_reason"] == "stop"
        assert "simulated answer" in body["choices"][0]["message"]["content"]
        assert "What is patience?" in body["choices"][0]["message"]["content"]

    async def test_cost_is_the_catalogue_price_to_the_last_digit(self, api: httpx2.AsyncClient) -> None:
        response = await api.post("/chat/completions", json=REQUEST)
        usage = json.loads(response.text, parse_float=Decimal)["usage"]
        expected = usage["prompt_tokens"] * Decimal("0.0000025") + usage["completion_tokens"] * Decimal("0.00001")
        assert usage["cost"] == expected
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    async def test_the_same_question_has_the_same_answer(self, api: httpx2.AsyncClient) -> None:
        first, second = [(await api.post("/chat/completions", json=REQUEST)).json() for _ in range(2)]
        assert first["choices"] == second["choices"]
        assert first["id"] != second["id"]

    async def test_another_seed_answers_differently(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        first = (await api.post("/chat/completions", json=REQUEST)).json()
        emulator.configure(seed=7)
        second = (await api.post("/chat/completions", json=REQUEST)).json()
        assert first["choices"] != second["choices"]

    async def test_max_tokens_cuts_it(self, api: httpx2.AsyncClient) -> None:
        body = (await api.post("/chat/completions", json=REQUEST | {"max_tokens": 16})).json()
        assert body["usage"]["completion_tokens"] == 16
        assert body["choices"][0]["finish_reason"] == "length"

    async def test_a_stop_sequence_ends_it(self, api: httpx2.AsyncClient) -> None:
        body = (await api.post("/chat/completions", json=REQUEST | {"stop": ["### "]})).json()
        assert "###" not in body["choices"][0]["message"]["content"]
        assert body["choices"][0]["finish_reason"] == "stop"

    @pytest.mark.parametrize(
        ("question", "expected"),
        [("ما هو الصبر؟", "إجابة محاكاة"), ("صبر چیست و چگونه است؟", "پاسخ شبیه‌سازی‌شده")],
    )
    async def test_it_answers_in_the_language_of_the_question(
        self, api: httpx2.AsyncClient, question: str, expected: str
    ) -> None:
        body = {"messages": [{"role": "user", "content": question}]}
        answer = (await api.post("/chat/completions", json=body)).json()["choices"][0]["message"]["content"]
        assert expected in answer
        assert question in answer
        assert 60 <= len(answer.split()) <= 250


class TestTitles:
    async def test_a_request_for_a_title_is_answered_by_a_title(self, api: httpx2.AsyncClient) -> None:
        messages = [
            {"role": "system", "content": "Write a short title for this conversation, at most six words."},
            {"role": "user", "content": "How do I pray while travelling by train?"},
        ]
        body = (await api.post("/chat/completions", json={"messages": messages})).json()
        assert body["choices"][0]["message"]["content"] == "How pray while travelling by train"

    async def test_the_instruction_may_follow_the_conversation(self, api: httpx2.AsyncClient) -> None:
        told = "user: What is fasting?\n\nassistant: It is ...\n\nGive this conversation a title of at most six words."
        body = (await api.post("/chat/completions", json={"messages": [{"role": "user", "content": told}]})).json()
        assert body["choices"][0]["message"]["content"] == "What fasting"

    async def test_titles_mentioned_in_passing_are_not_asked_for(self, api: httpx2.AsyncClient) -> None:
        rules = "Answer with care. " * 40 + "Give each section a short title."
        document = '<document title="A short guide">\nReply with a title.\n</document>'
        messages = [
            {"role": "system", "content": rules},
            {"role": "user", "content": f"Please read this.\n\n{document}\n\nWhat is patience?"},
        ]
        body = (await api.post("/chat/completions", json={"messages": messages})).json()
        assert "simulated answer" in body["choices"][0]["message"]["content"]

    async def test_a_question_about_a_title_is_a_question(self, api: httpx2.AsyncClient) -> None:
        messages = [{"role": "user", "content": "What is the title of the first chapter?"}]
        body = (await api.post("/chat/completions", json={"messages": messages})).json()
        assert "simulated answer" in body["choices"][0]["message"]["content"]


class TestStream:
    async def test_chunks_come_in_the_documented_order(self, api: httpx2.AsyncClient) -> None:
        response = await api.post("/chat/completions", json=REQUEST | {"stream": True})
        assert response.headers["content-type"] == "text/event-stream"
        assert response.text.startswith(": OPENROUTER PROCESSING\n\n")
        *chunks, done = parse_events(response.text)
        assert done == "[DONE]"
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["cost"] > 0
        assert {chunk["id"] for chunk in chunks} == {response.headers["x-generation-id"]}

    async def test_it_says_what_the_whole_answer_says(self, api: httpx2.AsyncClient) -> None:
        whole = (await api.post("/chat/completions", json=REQUEST)).json()
        streamed = await api.post("/chat/completions", json=REQUEST | {"stream": True})
        events = parse_events(streamed.text)
        assert joined_content(events) == whole["choices"][0]["message"]["content"]
        assert events[-2]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]

    async def test_comments_fill_a_long_wait(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.configure(first_token_delay=0.5, comment_interval=0.1)
        response = await api.post("/chat/completions", json=REQUEST | {"stream": True})
        assert response.text.count(": OPENROUTER PROCESSING") >= 4

    async def test_the_first_token_leaves_before_the_last_is_written(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        emulator.configure(tokens_per_second=100)
        async with api.stream("POST", "/chat/completions", json=REQUEST | {"stream": True}) as response:
            async for line in response.aiter_lines():
                if joined_content(parse_events(line)):
                    break
            (exchange,) = emulator.requests()
            assert exchange["finished_at"] is None
