"""The small questions: models, a generation's record, the key, the credits."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from scripted_server import Exchange, ScriptedServer, serving

from app.openrouter import client as client_module
from app.openrouter import errors
from app.openrouter.account import Credits, FreeRequests
from app.openrouter.catalog import Catalog, shipped_catalog
from app.openrouter.client import OpenRouterClient
from app.openrouter.live_catalog import LiveCatalog
from app.openrouter.models import ModelProfile
from app.openrouter.types import Usage

pytestmark = pytest.mark.anyio

RECORD = b"""{"data": {"id": "gen-1", "model": "a/one", "provider_name": "Groq", "total_cost": 3.4e-7, "usage": 1,
"cache_discount": -0.00025, "native_tokens_prompt": 12, "tokens_prompt": 99, "native_tokens_completion": 0,
"native_tokens_cached": null, "cancelled": true, "latency": 250, "is_byok": false, "created_at": "2026-11-23"}}"""
NOT_YET = b'{"error": {"code": 404, "message": "Generation gen-1 not found"}}'


@asynccontextmanager
async def talking(*replies: tuple[int, bytes]) -> AsyncIterator[tuple[OpenRouterClient, ScriptedServer]]:
    left = iter(replies)

    async def script(exchange: Exchange) -> None:
        await exchange.answer(*next(left))

    async with serving(script) as server:
        client = OpenRouterClient(base_url=server.url, api_key="k")
        try:
            yield client, server
        finally:
            await client.aclose()


class TestGeneration:
    async def test_the_record_is_read_exactly(self) -> None:
        async with talking((200, RECORD)) as (client, server):
            record = await client.get_generation("gen-1")
        assert server.exchanges[0].head.startswith("GET /api/v1/generation?id=gen-1 ")
        assert record.usage == Usage(
            prompt_tokens=12, completion_tokens=0, total_tokens=12, cost=Decimal("3.4e-7"), is_byok=False
        )
        assert (record.model, record.provider, record.cancelled) == ("a/one", "Groq", True)
        assert (record.cache_discount, record.latency_seconds) == (Decimal("-0.00025"), 0.25)

    async def test_a_record_that_is_not_there_yet_is_asked_for_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_module, "_FIRST_WAIT", 0.01)
        async with talking((404, NOT_YET), (404, NOT_YET), (200, RECORD)) as (client, server):
            assert (await client.get_generation("gen-1")).id == "gen-1"
            assert len(server.exchanges) == 3

    async def test_patience_ends(self) -> None:
        async with talking((404, NOT_YET)) as (client, _):
            with pytest.raises(errors.GenerationNotFound) as caught:
                await client.get_generation("gen-1", patience=0.1)
        assert caught.value.generation_id == "gen-1"

    async def test_a_refused_key_is_not_asked_again(self) -> None:
        refused = (401, b'{"error": {"code": 401, "message": "no"}}')
        async with talking(refused, refused) as (client, server):
            with pytest.raises(errors.AuthenticationFailed):
                await client.get_generation("gen-1", patience=0.9)  # time enough to ask once more
            assert len(server.exchanges) == 1

    @pytest.mark.parametrize("reply", [b'{"data": null}', b"<html>", b"", b"[]"])
    async def test_what_is_no_record_is_unreadable(self, reply: bytes) -> None:
        async with talking((200, reply)) as (client, _):
            with pytest.raises(errors.UnreadableAnswer):
                await client.get_generation("gen-1", patience=0.0)


class TestModels:
    async def test_all_kinds_of_models_are_asked_for(self) -> None:
        rows = [{"id": "a/one", "pricing": {"prompt": "0.000001", "completion": "0"}}, {"id": "b/two"}]
        async with talking((200, json.dumps({"data": rows}).encode())) as (client, server):
            models = await client.get_models()
        assert "output_modalities=all" in server.exchanges[0].head
        assert [model.id for model in models] == ["a/one", "b/two"]
        assert models[0].prices.base.prompt == Decimal("0.000001")

    async def test_an_empty_list_is_no_list(self) -> None:
        async with talking((200, b'{"data": []}')) as (client, _):
            with pytest.raises(errors.UnreadableAnswer):
                await client.get_models()


class TestAccount:
    async def test_the_key_tells_its_limits(self) -> None:
        data = {"label": "sk-or-v1-ab...yz", "limit": 10, "limit_remaining": 2.5, "is_free_tier": False}
        data |= {"free_model_daily_requests": {"limit": 50, "used": 3, "remaining": 47}, "is_provisioning_key": True}
        async with talking((200, json.dumps({"data": data}).encode())) as (client, _):
            key = await client.get_key()
        assert (key.limit, key.limit_remaining, key.usage) == (Decimal(10), Decimal("2.5"), None)
        assert key.free_model_daily_requests == FreeRequests(limit=50, used=3, remaining=47)
        assert key.is_management_key

    async def test_credits_may_be_overdrawn(self) -> None:
        async with talking((200, b'{"data": {"total_credits": 10, "total_usage": 10.25}}')) as (client, _):
            assert (await client.get_credits()).remaining == Decimal("-0.25")
        assert Credits(total_credits=Decimal(1)).remaining is None

    async def test_credits_want_a_management_key(self) -> None:
        async with talking((403, b'{"error": {"code": 403, "message": "Only management keys"}}')) as (client, _):
            with pytest.raises(errors.Forbidden):
                await client.get_credits()


def make_model(id_: str, **facts: Any) -> ModelProfile:
    return ModelProfile(id=id_, canonical_slug=id_, name=id_, **facts)


class Listing:
    """Stands for `get_models`: gives its rows, or fails, and counts."""

    def __init__(self, *rows: ModelProfile) -> None:
        self.rows, self.calls, self.fails = rows, 0, False

    async def __call__(self) -> tuple[ModelProfile, ...]:
        self.calls += 1
        if self.fails:
            raise errors.ConnectionFailed("off")
        return self.rows


class TestLiveCatalog:
    def setup_method(self) -> None:
        self.now = 0.0
        self.listing = Listing(make_model("x/new"), make_model("openai/gpt-4o", context_length=1))
        self.live = LiveCatalog(self.listing, max_age=100, pause_after_failure=10, clock=lambda: self.now)

    async def test_live_rows_lie_over_the_shipped_floor(self) -> None:
        catalog = await self.live.current()
        assert catalog.require("openai/gpt-4o").context_length == 1
        assert len(catalog) == len(shipped_catalog()) + 1
        assert self.live.listed == {"x/new", "openai/gpt-4o"}

    async def test_it_asks_again_only_when_its_copy_is_old(self) -> None:
        for self.now in (0, 50, 99, 100, 150):
            await self.live.current()
        assert self.listing.calls == 2

    async def test_without_openrouter_the_last_copy_serves_on(self) -> None:
        await self.live.current()
        self.listing.fails, self.now = True, 100
        assert (await self.live.current()).get("x/new") is not None
        assert isinstance(self.live.last_error, errors.ConnectionFailed)
        self.now = 105
        await self.live.current()
        assert self.listing.calls == 2
        self.listing.fails, self.now = False, 110
        await self.live.current()
        assert (self.listing.calls, self.live.last_error) == (3, None)

    async def test_models_no_longer_listed_leave_the_copy(self) -> None:
        await self.live.current()
        self.listing.rows, self.now = (make_model("x/other"),), 100
        catalog = await self.live.current()
        assert catalog.get("x/new") is None
        assert isinstance(catalog, Catalog)
