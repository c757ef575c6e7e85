"""Prompt caching by vendor, with a clock that is moved by hand."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.emulator.process import EmulatorProcess

pytestmark = pytest.mark.anyio
LONG = "Patience is half of faith, as the saying goes. " * 160
HOUR = {"type": "ephemeral", "ttl": "1h"}
MARK = {"type": "ephemeral"}


def conversation(*turns: str, marker: dict[str, str] | None = None, system: str = LONG) -> list[dict[str, Any]]:
    part: dict[str, Any] = {"type": "text", "text": system}
    roles = ("user", "assistant")
    told = [{"role": roles[index % 2], "content": text} for index, text in enumerate(turns)]
    return [{"role": "system", "content": [part | ({"cache_control": marker} if marker else {})]}, *told]


async def usage_of(api: httpx2.AsyncClient, model: str, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": messages, "session_id": "s", "max_tokens": 20, **more}
    usage: dict[str, Any] = (await api.post("/chat/completions", json=body)).json()["usage"]
    return usage


def counts(usage: dict[str, Any]) -> tuple[int, int]:
    details = usage["prompt_tokens_details"]
    return details["cached_tokens"], details["cache_write_tokens"]


class TestAnthropic:
    MODEL = "anthropic/claude-sonnet-5.5"

    async def test_without_a_marker_nothing_is_cached(self, api: httpx2.AsyncClient) -> None:
        for _ in range(2):
            assert counts(await usage_of(api, self.MODEL, conversation("a"))) == (0, 0)

    async def test_a_marked_prefix_is_written_then_read(self, api: httpx2.AsyncClient) -> None:
        written = counts(await usage_of(api, self.MODEL, conversation("a", marker=MARK)))
        read = counts(await usage_of(api, self.MODEL, conversation("b", marker=MARK)))
        assert written[0] == read[1] == 0
        assert written[1] == read[0] > 512

    async def test_it_lives_five_minutes_from_the_last_read(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        for wait, is_read in ((0, False), (290, True), (290, True), (301, False)):
            emulator.advance(wait)
            assert (counts(await usage_of(api, self.MODEL, conversation("a", marker=MARK)))[0] > 0) is is_read

    async def test_an_hour_costs_twice_the_prompt_price(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        more = {"provider": {"order": ["anthropic"]}}
        usage = await usage_of(api, self.MODEL, conversation("a", marker=HOUR), **more)
        written = counts(usage)[1]
        plain = usage["prompt_tokens"] - written
        expected = plain * Decimal("0.000002") + written * Decimal("0.000004") + 20 * Decimal("0.00001")
        assert Decimal(emulator.bill()["total"]) == expected
        emulator.advance(3_000)
        assert counts(await usage_of(api, self.MODEL, conversation("b", marker=HOUR), **more)) == (written, 0)

    async def test_the_automatic_marker_moves_with_the_conversation(self, api: httpx2.AsyncClient) -> None:
        first = counts(await usage_of(api, self.MODEL, conversation("a"), cache_control=MARK))
        second = counts(await usage_of(api, self.MODEL, conversation("a", "b", "c"), cache_control=MARK))
        assert second[0] == first[1]
        assert second[1] > 0

    async def test_a_short_prefix_is_silently_left_out(self, api: httpx2.AsyncClient) -> None:
        usage = await usage_of(api, self.MODEL, conversation("a", marker=MARK, system="short"))
        assert counts(usage) == (0, 0)

    async def test_a_changed_prefix_is_not_found(self, api: httpx2.AsyncClient) -> None:
        await usage_of(api, self.MODEL, conversation("a", marker=MARK))
        assert counts(await usage_of(api, self.MODEL, conversation("a", marker=MARK, system=LONG + "!")))[0] == 0

    async def test_a_fifth_marker_and_a_late_long_one_are_refused(self, api: httpx2.AsyncClient) -> None:
        part = {"type": "text", "text": "x", "cache_control": MARK}
        for parts in ([part] * 5, [part, part | {"cache_control": HOUR}]):
            body = {"model": self.MODEL, "messages": [{"role": "user", "content": parts}]}
            assert (await api.post("/chat/completions", json=body)).status_code == 400

    async def test_thinking_loses_the_messages_and_keeps_the_system(self, api: httpx2.AsyncClient) -> None:
        messages = conversation("a", marker=MARK)
        for thinking, is_whole in (({}, False), ({}, True), ({"reasoning": {"effort": "low"}}, False)):
            more = {"cache_control": MARK, "provider": {"order": ["anthropic"]}, **thinking}
            usage = await usage_of(api, self.MODEL, messages, **more)
            assert (counts(usage)[0] == usage["prompt_tokens"]) is is_whole
        assert counts(usage)[0] > 512

    async def test_searching_the_web_loses_the_system_too(self, api: httpx2.AsyncClient) -> None:
        searching = {"plugins": [{"id": "web"}]}
        for more, is_read in (({}, False), ({}, True), (searching, False), (searching, True)):
            usage = await usage_of(
                api, self.MODEL, conversation("a", marker=MARK), provider={"order": ["anthropic"]}, **more
            )
            assert (counts(usage)[0] > 0) is is_read

    async def test_another_host_has_another_cache(self, api: httpx2.AsyncClient) -> None:
        for host in ("anthropic", "google-vertex"):
            usage = await usage_of(
                api, self.MODEL, conversation("a", marker=MARK), provider={"order": [host]}, session_id=host
            )
            assert counts(usage)[0] == 0


class TestAutomatic:
    @pytest.mark.parametrize(
        ("model", "step"), [("openai/gpt-4o", 128), ("deepseek/deepseek-v3.2", 64), ("x-ai/grok-4.7", 64)]
    )
    async def test_whole_steps_are_read_for_less_and_written_for_nothing(
        self, api: httpx2.AsyncClient, model: str, step: int
    ) -> None:
        more = {"provider": {"order": ["openai", "deepseek", "xai"]}}
        assert counts(await usage_of(api, model, conversation("a"), **more)) == (0, 0)
        cached, written = counts(await usage_of(api, model, conversation("a", "b", "c"), **more))
        assert cached > 1_000
        assert cached % step == 0
        assert written == 0

    async def test_newer_openai_models_charge_the_write(self, api: httpx2.AsyncClient) -> None:
        first = counts(await usage_of(api, "openai/gpt-6-luna", conversation("a")))
        second = counts(await usage_of(api, "openai/gpt-6-luna", conversation("a", "b", "c")))
        assert first[1] > 1_024
        assert second[0] == first[1]
        explicit = {"prompt_cache_options": {"mode": "explicit"}, "session_id": "other"}
        assert (
            counts(await usage_of(api, "openai/gpt-6-luna", conversation("z", system="z" + LONG), **explicit))[1] == 0
        )

    async def test_hosts_of_open_weights_may_have_no_cache(self, api: httpx2.AsyncClient) -> None:
        for _ in range(2):
            usage = await usage_of(api, "deepseek/deepseek-v3.2", conversation("a"), provider={"order": ["novita"]})
            assert counts(usage) == (0, 0)


class TestOthers:
    async def test_gemini_caches_up_to_the_last_marker(self, api: httpx2.AsyncClient) -> None:
        more = {"provider": {"order": ["google-ai-studio"]}}
        messages = conversation("a", marker=MARK, system=LONG * 2)
        first = counts(await usage_of(api, "google/gemini-2.5-flash", messages, **more))
        second = counts(await usage_of(api, "google/gemini-2.5-flash", messages, **more))
        assert first[1] == second[0] > 2_048

    async def test_qwen_needs_markers(self, api: httpx2.AsyncClient) -> None:
        more = {"provider": {"order": ["alibaba"]}}
        assert counts(await usage_of(api, "qwen/qwen-plus", conversation("a"), **more)) == (0, 0)
        first = counts(await usage_of(api, "qwen/qwen-plus", conversation("a", marker=MARK), **more))
        second = counts(await usage_of(api, "qwen/qwen-plus", conversation("b", marker=MARK), **more))
        assert first[1] == second[0] > 1_024

    async def test_the_discount_is_in_the_generation_record(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        emulator.configure(generation_delay=0)
        for expected_sign in (-1, 1):
            body = {
                "model": "anthropic/claude-sonnet-5.5",
                "messages": conversation("a", marker=MARK),
                "session_id": "s",
            }
            answer = (await api.post("/chat/completions", json=body)).json()
            record = (await api.get("/generation", params={"id": answer["id"]})).json()["data"]
            assert record["cache_discount"] * expected_sign > 0

    async def test_what_is_not_charged_saves_nothing(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.configure(generation_delay=0)
        messages = conversation("a", marker=MARK)
        await usage_of(api, "anthropic/claude-sonnet-5.5", messages)
        emulator.fault("empty_answer", times=1)
        body = {"model": "anthropic/claude-sonnet-5.5", "messages": messages, "session_id": "s"}
        answer = (await api.post("/chat/completions", json=body)).json()
        assert counts(answer["usage"])[0] > 0
        record = (await api.get("/generation", params={"id": answer["id"]})).json()["data"]
        assert (record["usage"], record["cache_discount"]) == (0, None)

    @pytest.mark.parametrize(
        ("model", "host", "seconds"),
        [
            ("qwen/qwen-plus", "alibaba", 300),
            ("google/gemini-2.5-flash", "google-ai-studio", 300),
            ("openai/gpt-6-luna", "openai", 1_800),
            ("anthropic/claude-sonnet-5.5", "anthropic", 3_600),
        ],
    )
    async def test_an_hour_is_kept_only_by_those_who_sell_it(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess, model: str, host: str, seconds: int
    ) -> None:
        more = {"provider": {"order": [host]}}
        messages = conversation("a", marker=HOUR, system=LONG * 2)
        for wait, is_read in ((0, False), (seconds - 10, True), (seconds + 1, False)):
            emulator.advance(wait)
            usage = await usage_of(api, model, messages, **more)
            assert (counts(usage)[0] > 0) is is_read, wait

    async def test_half_a_day_is_asked_for_the_whole_request(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        more = {"provider": {"order": ["openai"]}, "prompt_cache_options": {"mode": "explicit", "ttl": "12h"}}
        messages = conversation("a", marker=MARK)
        await usage_of(api, "openai/gpt-6-luna", messages, **more)
        emulator.advance(40_000)
        assert counts(await usage_of(api, "openai/gpt-6-luna", messages, **more))[0] > 0

    async def test_without_caching_the_same_request_costs_its_plain_price(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        emulator.configure(prompt_caching=False)
        for _ in range(2):
            usage = await usage_of(api, "openai/gpt-4o", conversation("a"))
            assert counts(usage) == (0, 0)
            plain = usage["prompt_tokens"] * Decimal("0.0000025") + usage["completion_tokens"] * Decimal("0.00001")
            assert Decimal(str(usage["cost"])) == plain
