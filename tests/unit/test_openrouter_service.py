"""The product's way to OpenRouter: what is decided before a call, and what comes back from one."""

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.core.errors import InvalidField
from app.openrouter.types import ContentDelta
from app.services.model_call import ChatResult, ContextTooLong, ModelCallFailed
from app.services.openrouter_service import NotConfigured, OpenRouterService
from tests.emulator.process import EmulatorProcess
from tests.support.samples import data_url, pdf, png
from tests.support.served import TEST_KEY, make_settings

pytestmark = pytest.mark.anyio
HELLO = [{"role": "user", "content": "Hello"}]
MakeService = Callable[..., OpenRouterService]


@pytest.fixture
async def make_service(tmp_path: Path) -> AsyncIterator[MakeService]:
    made: list[OpenRouterService] = []

    def make(*, openrouter_url: str = "http://127.0.0.1:9/api/v1", **changes: Any) -> OpenRouterService:
        settings = make_settings(database_url="", data_dir=tmp_path, openrouter_url=openrouter_url, **changes)
        made.append(OpenRouterService(settings=lambda: settings))
        return made[-1]

    yield make
    for service in made:
        await service.aclose()


async def test_the_documented_call_answers(make_service: MakeService, openrouter: EmulatorProcess) -> None:
    result = await make_service(openrouter_url=openrouter.base_url).chat_completion(
        messages=HELLO,
        model="anthropic/claude-3.5-sonnet",
        user_id=uuid4(),
        enable_caching=True,
        fallback_models=["openai/gpt-4o", "openai/gpt-4o-mini"],
    )

    assert result.content
    assert result.model == "anthropic/claude-sonnet-5.5"
    assert result.total_cost_usd == Decimal(str(openrouter.bill()["total"]))
    assert (result.route.fallback_used, result.route.models_attempted) == (False, ("anthropic/claude-sonnet-5.5",))


async def test_files_in_openrouters_own_shape_go_to_models_that_take_them_by_an_engine_that_is_named(
    make_service: MakeService, openrouter: EmulatorProcess
) -> None:
    book = pdf("Of patience")
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": data_url(book, "application/pdf")}}
    picture = {"type": "image_url", "image_url": {"url": data_url(png(), "image/png")}}
    service = make_service(openrouter_url=openrouter.base_url)
    for model, engine in (("openai/gpt-4o", "native"), ("qwen/qwen-plus", "cloudflare-ai")):
        asked = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]
        result = await service.chat_completion(messages=asked, model=model, fallback_models=["openai/gpt-4o-mini"])
        body = openrouter.requests()[-1]["body"]
        assert body["messages"][0]["content"][1]["file"] == part["file"]
        assert body["plugins"] == [{"id": "file-parser", "pdf": {"engine": engine}}]
        assert result.pdf_ocr_cost_usd is None
    assert openrouter.parses()["fee"] == "0"
    with pytest.raises(InvalidField, match="cannot read images"):
        await service.chat_completion(messages=[{"role": "user", "content": [picture]}], model="qwen/qwen-plus")


async def test_a_stream_ends_with_the_result_of_its_pieces(
    make_service: MakeService, openrouter: EmulatorProcess
) -> None:
    service = make_service(openrouter_url=openrouter.base_url)
    pieces = [each async for each in service.call(service.plan(messages=HELLO, model="openai/gpt-4o")).stream()]

    result = pieces[-1]
    assert isinstance(result, ChatResult)
    assert result.content == "".join(each.text for each in pieces if isinstance(each, ContentDelta))
    assert result.attempts[0].first_token_seconds is not None


async def test_an_unknown_model_is_refused_before_any_call(make_service: MakeService) -> None:
    with pytest.raises(InvalidField, match="model: 'nobody/knows-it'"):
        await make_service().chat_completion(messages=HELLO, model="nobody/knows-it")
    with pytest.raises(InvalidField, match="fallback_models: 'nobody/knows-it'"):
        await make_service().chat_completion(messages=HELLO, fallback_models=["nobody/knows-it"])


async def test_a_default_model_the_catalogue_lacks_is_the_operators_choice(make_service: MakeService) -> None:
    planned = make_service(llm_model="brand/new").plan(messages=HELLO)

    assert planned.request.model == "brand/new"


async def test_a_missing_key_is_told(make_service: MakeService) -> None:
    with pytest.raises(NotConfigured, match="OPENROUTER_API_KEY"):
        make_service(openrouter_api_key=None).plan(messages=HELLO)


async def test_a_call_nobody_answers_tells_what_was_tried_and_never_the_key(make_service: MakeService) -> None:
    with pytest.raises(ModelCallFailed) as failed:
        await make_service().chat_completion(messages=HELLO, model="openai/gpt-4o")

    assert (failed.value.status_code, failed.value.fields["reason"]) == (502, "connection_failed")
    assert failed.value.fields["attempts"][0]["model"] == "openai/gpt-4o"
    assert TEST_KEY not in repr(failed.value.__dict__) + repr(failed.value.__cause__)


async def test_a_conversation_too_long_for_the_model_is_told_as_such(
    make_service: MakeService, openrouter: EmulatorProcess
) -> None:
    service = make_service(openrouter_url=openrouter.base_url, default_fallback_models="")
    with pytest.raises(ContextTooLong):
        await service.chat_completion(messages=[{"role": "user", "content": "word " * 200_000}], model="openai/gpt-4o")


async def test_answers_are_never_asked_to_be_longer_than_the_model_can(make_service: MakeService) -> None:
    planned = make_service().plan(messages=HELLO, model="openai/gpt-4o", max_tokens=900_000)

    assert planned.request.max_tokens == 16_384


async def test_closing_twice_or_before_any_call_does_no_harm(
    make_service: MakeService, openrouter: EmulatorProcess
) -> None:
    service = make_service(openrouter_url=openrouter.base_url)
    await service.aclose()
    await service.chat_completion(messages=HELLO)
    await service.aclose()
    await service.aclose()

    assert (await service.chat_completion(messages=HELLO)).content


async def test_a_fallback_that_served_is_told_with_what_was_tried(
    make_service: MakeService, openrouter: EmulatorProcess
) -> None:
    openrouter.fault("upstream_503", model="openai/gpt-4o")
    service = make_service(openrouter_url=openrouter.base_url)
    result = await service.chat_completion(
        messages=HELLO, model="openai/gpt-4o", fallback_models=["openai/gpt-4o-mini"]
    )

    assert result.model == "openai/gpt-4o-mini"
    assert result.route.fallback_used
    assert result.route.models_attempted == ("openai/gpt-4o", "openai/gpt-4o-mini")
