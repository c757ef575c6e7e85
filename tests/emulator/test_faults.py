"""Faults by name: that each can be produced, that they combine, and that the books stay right."""

import asyncio
import json
import re
import time
import zlib
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from openrouter_emulator.faults.library import FAULTS
from tests.emulator.process import REQUEST, EmulatorProcess, joined_content, parse_events

pytestmark = pytest.mark.anyio
STREAM = REQUEST | {"stream": True}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"properties": {"term": {"type": "string"}}}}}
SHORT = {
    "stall_after_tokens": "; seconds=0.01",
    "stall_before_first": "; seconds=0.01",
    "slow_headers": "=0.01",
    "slow": "=100000",
    "heartbeat_forever": "; probability=0",
    "reset_connection": "; probability=0",
    "break_after_tokens": "; probability=0",
}
"""What keeps a fault from taking long, or from ending in an exception of the client."""


async def ask(api: httpx2.AsyncClient, fault: str, **fields: Any) -> httpx2.Response:
    return await api.post("/chat/completions", json=STREAM | fields, headers={"X-Emulator-Fault": fault})


def status_named_by(fault: str) -> int:
    """A fault that refuses has its status in its name (the last one counts); all others answer 200."""
    return int((re.findall(r"\d{3}", fault) or ["200"])[-1])


class TestEveryFault:
    @pytest.mark.parametrize("name", sorted(FAULTS))
    async def test_it_is_answered_whole_and_streamed(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess, name: str
    ) -> None:
        for stream in (True, False):
            response = await ask(api, name + SHORT.get(name, ""), stream=stream, tools=[TOOL], tool_choice="required")
            assert response.status_code == status_named_by(name)
        struck = [] if "probability=0" in SHORT.get(name, "") else [name]
        assert [exchange["faults"] for exchange in emulator.requests()] == [struck, struck]

    def test_every_quirk_of_the_chat_endpoint_can_be_produced(self) -> None:
        natural = {35}  # one bad id spoils a whole `models` list without any fault
        elsewhere = {46}  # videos, audio and reranking have endpoints of their own
        produced = {quirk for fault in FAULTS.values() for quirk in fault.quirks}
        assert produced | natural | elsewhere == set(range(1, 47))

    def test_the_catalogue_describes_them(self, emulator: EmulatorProcess) -> None:
        catalogue = emulator.control.get("/faults/catalogue").json()
        assert catalogue["count"] == len(FAULTS)
        assert all(row["description"] and "\n" not in row["description"] for row in catalogue["faults"])


class TestCutStreams:
    async def test_a_cut_stream_has_its_tokens_and_no_end(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        events = parse_events((await ask(api, "cut_after_tokens=12")).text)
        assert "[DONE]" not in events
        assert all(event["choices"][0]["finish_reason"] is None for event in events)
        assert sum(bool(event["choices"][0]["delta"].get("content")) for event in events) == 12
        assert emulator.bill()["generations"][0]["completion_tokens"] == 12

    async def test_a_broken_connection_has_no_proper_end(self, api: httpx2.AsyncClient) -> None:
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(api, "break_after_tokens=5")

    async def test_a_reset_connection_answers_nothing(self, api: httpx2.AsyncClient) -> None:
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await ask(api, "reset_connection")

    async def test_an_error_chunk_ends_the_stream_and_costs_nothing(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        events = parse_events((await ask(api, "error_chunk=7; layout=empty_choices; done=true")).text)
        assert events[-1] == "[DONE]"
        assert events[-2]["error"]["code"] == 502
        assert events[-2]["choices"] == []
        assert Decimal(emulator.bill()["total"]) == 0

    async def test_a_character_can_be_cut(self, api: httpx2.AsyncClient) -> None:
        response = await ask(api, "cut_inside_event=3")
        with pytest.raises(UnicodeDecodeError):
            response.content.decode()


class TestStalls:
    async def test_heartbeats_go_on_until_the_client_leaves(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        headers, comments = {"X-Emulator-Fault": "heartbeat_forever=3"}, 0
        async with api.stream("POST", "/chat/completions", json=STREAM, headers=headers) as response:
            async for line in response.aiter_lines():
                comments += line.startswith(":")
                if comments == 3:
                    break
        for _ in range(20):
            (exchange,) = emulator.requests()
            if exchange["client_disconnected"]:
                break
            await asyncio.sleep(0.05)
        assert exchange["client_disconnected"]
        assert exchange["content_tokens_sent"] == 3

    async def test_a_stall_comes_after_the_tokens_it_names(self, api: httpx2.AsyncClient) -> None:
        headers, arrivals = {"X-Emulator-Fault": "stall_after_tokens=5; seconds=0.4"}, []
        asked = time.monotonic()
        async with api.stream("POST", "/chat/completions", json=STREAM, headers=headers) as response:
            async for line in response.aiter_lines():
                if joined_content(parse_events(line)):
                    arrivals.append(time.monotonic())
        waits = [later - earlier for earlier, later in pairwise(arrivals)]
        assert waits.index(max(waits)) == 4, waits
        assert arrivals[5] - asked >= 0.4


class TestWholeBodies:
    @pytest.mark.parametrize("name", sorted(name for name, fault in FAULTS.items() if fault.streams_only))
    async def test_faults_of_streams_leave_them_alone(self, api: httpx2.AsyncClient, name: str) -> None:
        answer = (await ask(api, name, stream=False)).json()
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["cost"] > 0

    async def test_their_connection_can_break_in_the_middle(self, api: httpx2.AsyncClient) -> None:
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(api, "break_after_tokens", stream=False)

    async def test_they_can_be_kept_alive_with_blanks(self, api: httpx2.AsyncClient) -> None:
        response = await ask(api, "stall_before_first=0.6; comments=true", stream=False)
        assert response.content.startswith(b"\n         \n" * 2 + b"{")

    async def test_they_can_hold_an_error_beside_partial_text(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        (choice,) = (await ask(api, "error_in_choice", stream=False)).json()["choices"]
        assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)
        assert choice["message"]["content"]
        assert Decimal(emulator.bill()["total"]) == 0


class TestTransport:
    async def test_bytes_come_one_by_one_and_say_the_same(self, api: httpx2.AsyncClient) -> None:
        plain = parse_events((await ask(api, "")).text)
        odd = parse_events((await ask(api, "byte_at_a_time, comment_storm=30, crlf")).text.replace("\r\n", "\n"))
        assert joined_content(odd) == joined_content(plain)

    async def test_a_padded_error_is_still_json(self, api: httpx2.AsyncClient) -> None:
        response = await ask(api, "http_401, whitespace_padding=2000, no_user_id")
        assert response.status_code == 401
        assert response.content.startswith(b"\n         \n")
        assert response.json() == {"error": {"code": 401, "message": "Missing Authentication header"}}

    async def test_gzip_is_flushed_with_the_padding_inside(self, api: httpx2.AsyncClient) -> None:
        headers = {"X-Emulator-Fault": "gzip, whitespace_padding"}
        async with api.stream("POST", "/chat/completions", json=REQUEST, headers=headers) as response:
            raw = b"".join([piece async for piece in response.aiter_raw()])
        unpacked = zlib.decompress(raw, wbits=31)
        assert unpacked.startswith(b"\n  ")
        assert json.loads(unpacked)["object"] == "chat.completion"


class TestRefusals:
    async def test_a_429_carries_retry_after(self, api: httpx2.AsyncClient) -> None:
        response = await ask(api, "http_429=upstream; retry_after=7")
        assert response.status_code == 429
        assert response.headers["retry-after"] == "7"
        assert response.json()["error"]["availability"]["retry_after"] == 7

    async def test_an_error_can_hide_in_a_200(self, api: httpx2.AsyncClient) -> None:
        response = await ask(api, "error_200=429")
        assert response.status_code == 200
        assert response.json()["error"]["code"] == 429

    async def test_an_unknown_fault_is_refused(self, api: httpx2.AsyncClient) -> None:
        for bad in ("no_such_fault", "cut_after_tokens; speed=3", "no_done; probability=2"):
            assert (await ask(api, bad)).status_code == 400


class TestUsage:
    @pytest.mark.parametrize(("form", "written"), [("exponent", "e-"), ("noise", "0000005")])
    async def test_the_cost_is_written_oddly(self, api: httpx2.AsyncClient, form: str, written: str) -> None:
        response = await ask(api, f"cost_as={form}", stream=False)
        assert written in response.text.partition('"cost":')[2].partition(",")[0]
        assert float(response.json()["usage"]["cost"]) > 0

    async def test_ones_own_key_costs_nothing_here(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        usage = (await ask(api, "byok", stream=False)).json()["usage"]
        assert (usage["cost"], usage["is_byok"]) == (0, True)
        assert usage["cost_details"]["upstream_inference_cost"] > 0
        assert Decimal(emulator.bill()["total"]) == 0

    async def test_usage_may_repeat_the_finish_reason(self, api: httpx2.AsyncClient) -> None:
        events = parse_events((await ask(api, "usage_placement=repeated_finish")).text)
        assert [event["choices"][0]["finish_reason"] for event in events[-3:-1]] == ["stop", "stop"]


class TestStandingOrders:
    async def test_they_strike_so_many_times(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.fault("http_503", times=2)
        statuses = [(await api.post("/chat/completions", json=REQUEST)).status_code for _ in range(3)]
        assert statuses == [503, 503, 200]

    async def test_they_strike_whom_they_mean(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.fault("http_500", match={"user": "unlucky"})
        for user, status in (("unlucky", 500), ("lucky", 200)):
            assert (await api.post("/chat/completions", json=REQUEST | {"user": user})).status_code == status

    async def test_they_leave_other_endpoints_alone(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.fault("http_500")
        assert (await api.get("/models")).status_code == 200
        emulator.fault("http_500", match={"path": "/models"})
        assert (await api.get("/models")).status_code == 500

    async def test_they_can_be_taken_back(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        first = emulator.fault("http_500")
        emulator.fault("http_502")
        emulator.control.delete("/faults", params={"id": str(first)})
        assert (await api.post("/chat/completions", json=REQUEST)).status_code == 502
        emulator.control.delete("/faults")
        assert (await api.post("/chat/completions", json=REQUEST)).status_code == 200

    async def test_half_of_them_strike_with_probability_one_half(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        emulator.fault("http_500", probability=0.5)
        statuses = [(await api.post("/chat/completions", json=REQUEST)).status_code for _ in range(40)]
        assert 8 <= statuses.count(500) <= 32


class TestUpstream:
    async def test_another_host_takes_over(self, api: httpx2.AsyncClient) -> None:
        headers = {"X-Emulator-Fault": "upstream_502; provider=openai", "X-OpenRouter-Metadata": "enabled"}
        body = REQUEST | {"provider": {"order": ["openai", "azure"]}}
        answer = (await api.post("/chat/completions", json=body, headers=headers)).json()
        assert answer["provider"] == "Azure"
        statuses = [(one["provider"], one["status"]) for one in answer["openrouter_metadata"]["attempts"]]
        assert statuses == [("OpenAI", 502), ("Azure", 200)]

    async def test_the_next_model_takes_over_and_its_price_is_charged(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        emulator.fault("upstream_429", model="openai/gpt-4o")
        body = REQUEST | {"models": ["openai/gpt-4o-mini"]}
        answer = (await api.post("/chat/completions", json=body)).json()
        assert answer["model"] == "openai/gpt-4o-mini"
        usage = answer["usage"]
        price = usage["prompt_tokens"] * Decimal("0.00000015") + usage["completion_tokens"] * Decimal("0.0000006")
        assert Decimal(emulator.bill()["total"]) == price

    async def test_the_last_error_comes_back_with_the_earlier_ones(self, api: httpx2.AsyncClient) -> None:
        error = (await ask(api, "upstream_503")).json()["error"]
        assert error["message"] == "Provider returned error"
        assert json.loads(error["metadata"]["raw"])["error"]["code"] == 503
        assert [one["status"] for one in error["metadata"]["previous_errors"]] == [503]
