"""Requests that are refused before anything is generated."""

import httpx2
import pytest

from tests.emulator.process import REQUEST, EmulatorProcess

pytestmark = pytest.mark.anyio


class TestKey:
    async def test_a_missing_key_is_refused(self, emulator: EmulatorProcess) -> None:
        async with httpx2.AsyncClient(base_url=emulator.base_url) as client:
            response = await client.post("/chat/completions", json=REQUEST)
        assert response.status_code == 401
        assert response.json()["error"] == {"code": 401, "message": "Missing Authentication header"}

    async def test_only_listed_keys_are_accepted(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        emulator.configure(api_keys=["sk-or-other"])
        assert (await api.post("/chat/completions", json=REQUEST)).status_code == 401
        headers = {"Authorization": "Bearer sk-or-other"}
        assert (await api.post("/chat/completions", json=REQUEST, headers=headers)).status_code == 200


class TestBody:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"messages": []}, "messages"),
            ({"temperature": 3}, "temperature"),
            ({"models": ["openai/gpt-4o"] * 4}, "'models' array must have 3 items or fewer."),
            ({"stop": list("abcde")}, "'stop' must have 4 items or fewer."),
            ({"session_id": "s" * 257}, "session_id"),
            ({"metadata": {str(key): "v" for key in range(17)}}, "16 pairs"),
            ({"provider": {"oder": ["openai"]}}, "oder"),
            ({"model": "openai/gpt-none"}, "openai/gpt-none is not a valid model ID"),
            ({"models": ["openai/gpt-5", "no/such"]}, "no/such is not a valid model ID"),
            ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning_effort"),
            ({"reasoning": {"effort": "lots"}}, "$.reasoning.effort"),
            ({"tools": [{"type": "function"}]}, "function"),
            ({"plugins": [{"enabled": True}]}, "$.plugins[0]"),
            ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "$.messages[0].content[0]"),
            ({"image_config": {"aspect_ratio": "wide"}}, "$.image_config.aspect_ratio"),
            ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "json_schema"),
            ({"provider": {"max_price": {"prompt": "cheap"}}}, "max_price"),
        ],
    )
    async def test_a_wrong_field_is_named(
        self, api: httpx2.AsyncClient, change: dict[str, object], message: str
    ) -> None:
        response = await api.post("/chat/completions", json=REQUEST | change)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == 400
        assert message in response.json()["error"]["message"]

    async def test_broken_json_is_refused(self, api: httpx2.AsyncClient) -> None:
        response = await api.post("/chat/completions", content=b'{"messages": [')
        assert response.status_code == 400

    async def test_unknown_fields_are_accepted(self, api: httpx2.AsyncClient) -> None:
        assert (await api.post("/chat/completions", json=REQUEST | {"someday": 1})).status_code == 200

    async def test_an_unknown_path_has_the_same_envelope(self, api: httpx2.AsyncClient) -> None:
        response = await api.post("/images/generations", json={})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == 404
