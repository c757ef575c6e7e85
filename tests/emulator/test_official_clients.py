"""The official clients, run against the emulator: their own types parse what it sends."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import openai
import pytest
from openrouter import OpenRouter, components, errors
from openrouter.utils import BackoffStrategy, RetryConfig

from tests.emulator.process import EmulatorProcess

pytestmark = pytest.mark.anyio
MESSAGES: list[Any] = [{"role": "user", "content": "What is patience?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
NO_RETRIES = RetryConfig("none", BackoffStrategy(1, 1, 1.0, 1), retry_connection_errors=False)


@pytest.fixture
async def sdk(emulator: EmulatorProcess) -> AsyncIterator[OpenRouter]:
    """The vendor's own SDK; by default it would retry a failure for an hour."""
    async with (
        httpx.AsyncClient() as http,
        OpenRouter(
            api_key="sk-or-test", server_url=emulator.base_url, async_client=http, retry_config=NO_RETRIES
        ) as client,
    ):
        yield client


@pytest.fixture
async def openai_client(emulator: EmulatorProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="sk-or-test", base_url=emulator.base_url, max_retries=0) as client:
        yield client


class TestOpenRouterSdk:
    async def test_chat(self, sdk: OpenRouter) -> None:
        result = await sdk.chat.send_async(messages=MESSAGES, model="openai/gpt-4o", x_open_router_metadata="enabled")
        assert isinstance(result, components.ChatResult)
        assert result.usage is not None
        assert result.usage.cost
        assert result.openrouter_metadata is not None

    async def test_stream(self, sdk: OpenRouter) -> None:
        stream = await sdk.chat.send_async(messages=MESSAGES, model="anthropic/claude-sonnet-5", stream=True)
        text, usage = "", None
        async with stream as chunks:
            async for chunk in chunks:
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                usage = chunk.usage or usage
        assert "simulated answer" in text
        assert usage is not None

    async def test_reasoning_and_tools(self, sdk: OpenRouter) -> None:
        tool: Any = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
        result = await sdk.chat.send_async(
            messages=MESSAGES, model="openai/gpt-5", tools=[tool], tool_choice="required", reasoning={"effort": "low"}
        )
        assert isinstance(result, components.ChatResult)
        message = result.choices[0].message
        assert message.tool_calls
        assert message.reasoning_details

    async def test_structured_output(self, sdk: OpenRouter) -> None:
        wanted: Any = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
        result = await sdk.chat.send_async(messages=MESSAGES, model="openai/gpt-4o", response_format=wanted)
        assert isinstance(result, components.ChatResult)
        assert set(json.loads(str(result.choices[0].message.content))) == {"answer"}

    async def test_models_and_endpoints(self, sdk: OpenRouter) -> None:
        listed = await sdk.models.list_async(output_modalities="all")
        assert listed is not None
        assert "black-forest-labs/flux.2-pro" in {model.id for model in listed.result.data}
        endpoints = await sdk.endpoints.list_async(author="anthropic", slug="claude-sonnet-5")
        assert {row.provider_name for row in endpoints.data.endpoints} >= {"Anthropic", "Amazon Bedrock"}

    @pytest.mark.filterwarnings("ignore:warning. .. DEPRECATED:DeprecationWarning")
    async def test_providers_credits_and_key(self, sdk: OpenRouter) -> None:
        assert (await sdk.providers.list_async()).data
        assert (await sdk.credits.get_credits_async()).data.total_credits == 1000
        assert (await sdk.api_keys.get_current_key_metadata_async()).data.limit is None

    async def test_generation(self, sdk: OpenRouter, emulator: EmulatorProcess) -> None:
        emulator.configure(generation_delay=0)
        result = await sdk.chat.send_async(messages=MESSAGES, model="openai/gpt-4o")
        assert isinstance(result, components.ChatResult)
        record = (await sdk.generations.get_generation_async(id=result.id)).data
        assert result.usage is not None
        assert record.total_cost == result.usage.cost

    async def test_images(self, sdk: OpenRouter) -> None:
        result: Any = await sdk.images.generate_async(model="openai/gpt-5-image", prompt="a lighthouse")
        assert result.data[0].b64_json
        assert result.usage.cost
        listed = await sdk.images.list_models_async()
        assert "openai/gpt-5-image" in {model.id for model in listed.data}
        offers = await sdk.images.list_model_endpoints_async(author="openai", slug="gpt-5-image")
        assert offers.endpoints[0].pricing

    async def test_errors_have_their_classes(self, sdk: OpenRouter, emulator: EmulatorProcess) -> None:
        emulator.fault("http_402")
        with pytest.raises(errors.PaymentRequiredResponseError):
            await sdk.chat.send_async(messages=MESSAGES, model="openai/gpt-4o")


class TestOpenAiSdk:
    async def test_chat(self, openai_client: openai.AsyncOpenAI) -> None:
        result = await openai_client.chat.completions.create(messages=MESSAGES, model="openai/gpt-4o")
        assert "simulated answer" in str(result.choices[0].message.content)
        assert result.usage is not None
        assert result.usage.total_tokens

    async def test_stream(self, openai_client: openai.AsyncOpenAI) -> None:
        chunks = await openai_client.chat.completions.create(messages=MESSAGES, model="openai/gpt-4o", stream=True)
        received = [chunk async for chunk in chunks]
        assert received[-1].usage is not None
        assert "simulated answer" in "".join(c.choices[0].delta.content or "" for c in received if c.choices)

    async def test_structured_output(self, openai_client: openai.AsyncOpenAI) -> None:
        result = await openai_client.chat.completions.create(
            messages=MESSAGES,
            model="openai/gpt-4o",
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        )
        assert set(json.loads(str(result.choices[0].message.content))) == {"answer"}

    async def test_models(self, openai_client: openai.AsyncOpenAI) -> None:
        assert "openai/gpt-4o" in [model.id async for model in openai_client.models.list()]

    async def test_errors_have_their_classes(
        self, openai_client: openai.AsyncOpenAI, emulator: EmulatorProcess
    ) -> None:
        emulator.fault("http_429", params={"retry_after": 3})
        with pytest.raises(openai.RateLimitError) as caught:
            await openai_client.chat.completions.create(messages=MESSAGES, model="openai/gpt-4o")
        assert caught.value.response.headers["retry-after"] == "3"

    async def test_their_images_path_does_not_exist(self, api: httpx2.AsyncClient) -> None:
        assert (await api.post("/images/generations", json={"prompt": "x"})).status_code == 404
