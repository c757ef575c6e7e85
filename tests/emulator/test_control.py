"""Looking inside: requests, settings and the bill."""

import asyncio
from decimal import Decimal

import httpx2
import pytest

from tests.emulator.process import REQUEST, EmulatorProcess

pytestmark = pytest.mark.anyio
STREAM = REQUEST | {"stream": True}


class TestRequests:
    async def test_a_request_is_shown_without_its_key(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        body = REQUEST | {"user": "u1", "session_id": "s1"}
        answer = (await api.post("/chat/completions", json=body, headers={"X-Request-ID": "r1"})).json()
        (exchange,) = emulator.requests()
        assert exchange["method"] == "POST"
        assert exchange["path"] == "/api/v1/chat/completions"
        assert exchange["body"] == body
        assert exchange["status"] == 200
        assert exchange["generation_id"] == answer["id"]
        assert exchange["finished_at"] >= exchange["started_at"]
        assert "authorization" not in exchange["headers"]
        assert exchange["headers"]["x-request-id"] == "r1"

    async def test_requests_are_found_by_their_identifiers(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        for name in ("a", "b"):
            body = REQUEST | {"user": f"user-{name}", "session_id": f"session-{name}"}
            await api.post("/chat/completions", json=body, headers={"X-Request-ID": f"request-{name}"})
        for name in ("user", "session_id", "request_id"):
            (exchange,) = emulator.requests(**{name: f"{name.removesuffix('_id')}-b"})
            assert exchange["body"]["user"] == "user-b"

    async def test_the_log_forgets_the_oldest(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.configure(request_log_size=3)
        for number in range(5):
            await api.post("/chat/completions", json=REQUEST | {"user": str(number)})
        assert [exchange["body"]["user"] for exchange in emulator.requests()] == ["2", "3", "4"]

    async def test_the_newest_can_be_asked_for(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        for number in range(3):
            await api.post("/chat/completions", json=REQUEST | {"user": str(number)})
        assert [exchange["body"]["user"] for exchange in emulator.requests(limit="1")] == ["2"]

    async def test_a_client_that_leaves_is_noticed(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.configure(tokens_per_second=50)
        async with api.stream("POST", "/chat/completions", json=STREAM) as response:
            async for line in response.aiter_lines():
                if '"content":" ' in line:
                    break
        await asyncio.sleep(0.2)
        (exchange,) = emulator.requests()
        assert exchange["client_disconnected"]
        assert exchange["aborted_at"] is not None
        assert exchange["finished_at"] is None
        assert 0 < exchange["content_tokens_sent"] < 30


class TestSettings:
    async def test_only_named_settings_change(self, emulator: EmulatorProcess) -> None:
        emulator.configure(first_token_delay=1.5)
        settings = emulator.control.get("/settings").json()
        assert settings == emulator.initial_settings | {"first_token_delay": 1.5}

    @pytest.mark.parametrize("change", [{"tokens_per_second": -1}, {"no_such": 1}, {"seed": "x"}])
    async def test_wrong_settings_are_refused(self, emulator: EmulatorProcess, change: dict[str, object]) -> None:
        assert emulator.control.put("/settings", json=change).status_code == 400


class TestBill:
    async def test_it_sums_what_was_charged(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        answers = [(await api.post("/chat/completions", json=REQUEST)).json() for _ in range(3)]
        bill = emulator.bill()
        assert bill["count"] == 3
        assert Decimal(bill["total"]) == 3 * Decimal(str(answers[0]["usage"]["cost"]))

    async def test_it_can_be_asked_about_some_generations(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        ids = [(await api.post("/chat/completions", json=REQUEST)).json()["id"] for _ in range(3)]
        bill = emulator.bill(*ids[:2])
        assert {row["generation_id"] for row in bill["generations"]} == set(ids[:2])


class TestLoad:
    async def test_many_streams_run_side_by_side(self, emulator: EmulatorProcess) -> None:
        emulator.configure(tokens_per_second=400, first_token_delay=0.2)
        limits = httpx2.Limits(max_connections=200)
        headers = {"Authorization": "Bearer k"}
        async with httpx2.AsyncClient(base_url=emulator.base_url, headers=headers, limits=limits, timeout=30) as client:
            responses = await asyncio.gather(*(client.post("/chat/completions", json=STREAM) for _ in range(150)))
        assert all(response.text.endswith("data: [DONE]\n\n") for response in responses)
        assert emulator.bill()["count"] == 150
