"""`GET /models` and its filters."""

import httpx2
import pytest

pytestmark = pytest.mark.anyio


async def _ids(api: httpx2.AsyncClient, **query: str) -> set[str]:
    body = (await api.get("/models", params=query)).json()
    assert body["total_count"] == len(body["data"])
    return {row["id"] for row in body["data"]}


class TestModels:
    async def test_text_models_are_shown_by_default(self, api: httpx2.AsyncClient) -> None:
        ids = await _ids(api)
        assert "openai/gpt-4o" in ids
        assert "black-forest-labs/flux.2-pro" not in ids

    async def test_image_models_are_shown_on_demand(self, api: httpx2.AsyncClient) -> None:
        images, everything = await _ids(api, output_modalities="image"), await _ids(api, output_modalities="all")
        assert "black-forest-labs/flux.2-pro" in images
        assert "openai/gpt-4o" not in images
        assert images < everything

    async def test_filters_combine(self, api: httpx2.AsyncClient) -> None:
        ids = await _ids(api, supported_parameters="tools", model_authors="anthropic", q="sonnet")
        assert ids
        assert all(name.lstrip("~").startswith("anthropic/claude-sonnet") for name in ids)

    async def test_prices_are_decimal_strings(self, api: httpx2.AsyncClient) -> None:
        rows = (await api.get("/models")).json()["data"]
        assert all(isinstance(row["pricing"]["prompt"], str) for row in rows)

    async def test_pages_when_asked(self, api: httpx2.AsyncClient) -> None:
        everything = (await api.get("/models")).json()["data"]
        page = (await api.get("/models", params={"offset": "2", "limit": "3"})).json()
        assert page["data"] == everything[2:5]
        assert page["total_count"] == len(everything)

    @pytest.mark.parametrize("query", [{"limit": "5000"}, {"offset": "x"}, {"max_price": "cheap"}])
    async def test_wrong_queries_are_refused(self, api: httpx2.AsyncClient, query: dict[str, str]) -> None:
        assert (await api.get("/models", params=query)).status_code == 400
