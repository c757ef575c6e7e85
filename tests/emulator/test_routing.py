"""Which host and model serve: preferences, fallbacks, stickiness."""

from typing import Any

import httpx2
import pytest

from tests.emulator.process import REQUEST, EmulatorProcess

pytestmark = pytest.mark.anyio
OPEN = REQUEST | {"model": "deepseek/deepseek-v3.2"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


async def served(api: httpx2.AsyncClient, **fields: Any) -> str:
    answer = (await api.post("/chat/completions", json=OPEN | fields)).json()
    return str(answer.get("provider") or answer["error"]["message"])


class TestPreferences:
    @pytest.mark.parametrize(
        ("preferences", "provider"),
        [
            ({"order": ["novita"]}, "Novita"),
            ({"order": ["DeepInfra", "deepseek"]}, "DeepInfra"),
            ({"only": ["fireworks"]}, "Fireworks"),
            ({"ignore": ["deepseek", "deepinfra", "fireworks"]}, "Novita"),
            ({"sort": "price"}, "DeepSeek"),
            ({"sort": "throughput"}, "Fireworks"),
            ({"sort": {"by": "latency"}}, "Fireworks"),
            ({"zdr": True, "sort": "price"}, "DeepInfra"),
            ({"data_collection": "deny", "sort": "price"}, "DeepInfra"),
            ({"max_price": {"prompt": "0.27"}}, "DeepSeek"),
            ({"order": ["no-such-host", "novita"]}, "Novita"),
        ],
    )
    async def test_they_choose_the_host(
        self, api: httpx2.AsyncClient, preferences: dict[str, Any], provider: str
    ) -> None:
        assert await served(api, provider=preferences) == provider

    @pytest.mark.parametrize(
        ("preferences", "excluded_by"),
        [
            ({"only": ["groq"]}, "allowed_providers"),
            ({"max_price": {"prompt": 0.01}}, "max_price"),
            ({"only": ["deepseek"], "zdr": True}, "data_policy:zdr"),
        ],
    )
    async def test_too_many_of_them_leave_nobody(
        self, api: httpx2.AsyncClient, preferences: dict[str, Any], excluded_by: str
    ) -> None:
        response = await api.post("/chat/completions", json=OPEN | {"provider": preferences})
        error = response.json()["error"]
        assert response.status_code == 404
        assert error["availability"]["excluded_by"] == [excluded_by]
        assert error["metadata"]["routing_funnel"][-1]["endpoint_count"] == 0

    async def test_without_fallbacks_the_first_host_has_the_last_word(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        emulator.control.put("/hosts", json={"novita": 503})
        wishes = {"order": ["novita"], "allow_fallbacks": False}
        response = await api.post("/chat/completions", json=OPEN | {"provider": wishes})
        assert response.status_code == 503
        assert await served(api, provider={"order": ["novita"]}) != "Novita"

    async def test_a_host_without_schemas_ignores_them_unless_they_are_required(self, api: httpx2.AsyncClient) -> None:
        body = OPEN | {"response_format": SCHEMA, "provider": {"only": ["novita"]}}
        answer = (await api.post("/chat/completions", json=body)).json()
        assert "simulated answer" in answer["choices"][0]["message"]["content"]
        strict = body | {"provider": {"only": ["novita"], "require_parameters": True}}
        assert (await api.post("/chat/completions", json=strict)).status_code == 404


class TestCapabilities:
    async def test_pictures_need_a_model_that_sees(self, api: httpx2.AsyncClient) -> None:
        messages = [{"role": "user", "content": [PICTURE]}]
        assert "support image input" in await served(api, messages=messages)

    async def test_image_only_models_refuse_text(self, api: httpx2.AsyncClient) -> None:
        body = REQUEST | {"model": "black-forest-labs/flux.2-pro", "modalities": ["image", "text"]}
        response = await api.post("/chat/completions", json=body)
        assert response.status_code == 404
        assert "requested output modalities: image, text" in response.json()["error"]["message"]

    async def test_a_prompt_can_be_too_long(self, api: httpx2.AsyncClient) -> None:
        messages = [{"role": "user", "content": "word " * 170_000}]
        assert "maximum context length is" in await served(api, messages=messages)


class TestAliases:
    async def test_the_concrete_model_is_named(self, api: httpx2.AsyncClient) -> None:
        answer = (
            await api.post("/chat/completions", json=REQUEST | {"model": "~anthropic/claude-sonnet-latest"})
        ).json()
        assert answer["model"] == "anthropic/claude-sonnet-5.5"

    async def test_the_auto_router_keeps_to_its_list(self, api: httpx2.AsyncClient) -> None:
        plugin = {"id": "auto-router", "allowed_models": ["anthropic/*"]}
        answer = (
            await api.post("/chat/completions", json=REQUEST | {"model": "openrouter/auto", "plugins": [plugin]})
        ).json()
        assert answer["model"].startswith("anthropic/")
        plugin = {"id": "auto-router", "allowed_models": ["nobody/*"]}
        body = REQUEST | {"model": "openrouter/auto", "plugins": [plugin]}
        assert (await api.post("/chat/completions", json=body)).status_code == 404

    @pytest.mark.parametrize("model", ["anthropic/claude-3.5-sonnet", "openai/dall-e-3"])
    async def test_retired_ids_are_refused(self, api: httpx2.AsyncClient, model: str) -> None:
        response = await api.post("/chat/completions", json=REQUEST | {"model": model})
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["message"] == f"{model} is not a valid model ID"
        assert error["availability"]["fallback_models"]


class TestStickiness:
    async def test_a_session_stays_with_its_host(self, api: httpx2.AsyncClient) -> None:
        more = {"model": "anthropic/claude-sonnet-5", "session_id": "s"}
        assert len({await served(api, **more) for _ in range(12)}) == 1

    async def test_ten_idle_minutes_end_it(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        body = REQUEST | {"model": "anthropic/claude-sonnet-5", "session_id": "s"}
        found = set()
        for _ in range(25):
            found.add((await api.post("/chat/completions", json=body)).json()["provider"])
            emulator.advance(601)
        assert len(found) > 1

    async def test_without_a_session_hosts_change(self, api: httpx2.AsyncClient) -> None:
        body = REQUEST | {"model": "anthropic/claude-sonnet-5"}
        assert len({(await api.post("/chat/completions", json=body)).json()["provider"] for _ in range(25)}) > 1
