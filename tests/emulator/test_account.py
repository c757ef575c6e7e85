"""Keys, credits, limits, and the record of a generation."""

import asyncio
from decimal import Decimal

import httpx2
import pytest

from tests.emulator.process import REQUEST, EmulatorProcess

pytestmark = pytest.mark.anyio
FREE = REQUEST | {"model": "google/gemma-4-31b-it:free"}
STREAM = REQUEST | {"stream": True}


class TestGeneration:
    async def test_it_is_not_ready_at_first(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        answer = (await api.post("/chat/completions", json=REQUEST | {"user": "u"})).json()
        assert (await api.get("/generation", params={"id": answer["id"]})).status_code == 404
        emulator.advance(1.1)
        record = (await api.get("/generation", params={"id": answer["id"]})).json()["data"]
        assert record["total_cost"] == answer["usage"]["cost"]
        assert record["native_tokens_completion"] == answer["usage"]["completion_tokens"]
        assert (record["cancelled"], record["streamed"], record["external_user"]) == (False, False, "u")

    @pytest.mark.parametrize(("host", "is_whole"), [("openai", False), ("amazon-bedrock", True)])
    async def test_a_client_that_leaves_pays_what_the_host_does_not_stop(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess, host: str, is_whole: bool
    ) -> None:
        emulator.configure(tokens_per_second=100, generation_delay=0)
        model = "anthropic/claude-sonnet-5" if is_whole else "openai/gpt-4o"
        body = STREAM | {"model": model, "provider": {"order": [host]}}
        async with api.stream("POST", "/chat/completions", json=body) as response:
            generation_id = response.headers["x-generation-id"]
            async for line in response.aiter_lines():
                if '"content":" ' in line:
                    break
        await asyncio.sleep(0.2)
        record = (await api.get("/generation", params={"id": generation_id})).json()["data"]
        assert record["cancelled"]
        assert (record["native_tokens_completion"] > 100) is is_whole
        assert record["total_cost"] > 0

    async def test_nothing_written_costs_nothing(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        headers = {"X-Emulator-Fault": "empty_answer"}
        answer = (await api.post("/chat/completions", json=REQUEST, headers=headers)).json()
        assert answer["usage"]["cost"] == 0
        assert answer["choices"][0]["finish_reason"] is None
        assert Decimal(emulator.bill()["total"]) == 0


class TestCredits:
    async def test_they_run_out(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.configure(total_credits="0.01")
        refused = await api.post("/chat/completions", json=REQUEST)
        assert refused.status_code == 402
        assert "can only afford" in refused.json()["error"]["message"]
        assert (await api.post("/chat/completions", json=REQUEST | {"max_tokens": 500})).status_code == 200
        emulator.configure(total_credits="-1")
        assert (await api.post("/chat/completions", json=FREE)).status_code == 402

    async def test_a_key_has_its_own_cap(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        await api.post("/chat/completions", json=REQUEST)
        emulator.configure(key_limit="0.0001")
        response = await api.post("/chat/completions", json=REQUEST)
        assert response.status_code == 403
        assert "Key limit exceeded" in response.json()["error"]["message"]

    async def test_credits_and_key_tell_the_same(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        await api.post("/chat/completions", json=REQUEST)
        spent = float(emulator.bill()["total"])
        assert (await api.get("/credits")).json()["data"] == {"total_credits": 1000, "total_usage": spent}
        assert (await api.get("/key")).json()["data"]["usage"] == spent


class TestFreeModels:
    async def test_they_are_free_and_limited_by_the_minute(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        emulator.configure(free_requests_per_minute=2)
        answers = [await api.post("/chat/completions", json=FREE) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].json()["usage"]["cost"] == 0
        assert answers[2].headers["x-ratelimit-remaining"] == "0"
        metadata = answers[2].json()["error"]["metadata"]
        assert metadata["headers"]["X-RateLimit-Limit"] == "2"
        assert "retry-after" not in answers[2].headers
        emulator.advance(61)
        assert (await api.post("/chat/completions", json=FREE)).status_code == 200

    async def test_they_are_limited_by_the_day(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.configure(free_requests_per_day=1)
        await api.post("/chat/completions", json=FREE)
        assert "per-day" in (await api.post("/chat/completions", json=FREE)).json()["error"]["message"]
        emulator.advance(86_400)
        assert (await api.post("/chat/completions", json=FREE)).status_code == 200
