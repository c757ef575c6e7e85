"""What is written on demand: JSON by schema, tool calls, thinking, pictures, documents."""

import base64
import io
import json
import random
import re
import struct
import zlib
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from openrouter_emulator.answers.healing import heal_json
from openrouter_emulator.answers.json_schema import SchemaWriter
from openrouter_emulator.answers.pattern import matching_text
from tests.emulator.process import REQUEST, parse_events

pytestmark = pytest.mark.anyio
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "kind": {"enum": ["verse", "saying"]},
        "year": {"type": "integer", "minimum": 600, "maximum": 1500},
        "sources": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/source"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["title", "kind", "year", "sources", "note"],
    "additionalProperties": False,
    "$defs": {"source": {"type": "object", "properties": {"url": {"type": "string", "format": "uri"}}}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"term": {"type": "string"}}}},
}
PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4 /Type /Page /Type /Page").decode()


async def message_of(api: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = (await api.post("/chat/completions", json=REQUEST | fields)).json()
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def picture_size(data_url: str) -> tuple[int, int]:
    """Decodes the picture and checks that all its pixels are there."""
    content = base64.b64decode(data_url.rpartition(",")[2])
    width, height = struct.unpack(">II", content[16:24])
    length = struct.unpack(">I", content[33:37])[0]
    assert len(zlib.decompress(content[41 : 41 + length])) == height * (1 + 3 * width)
    return width, height


class TestStructuredOutput:
    async def test_it_fits_the_schema(self, api: httpx2.AsyncClient) -> None:
        written = json.loads((await message_of(api, response_format=FORMAT))["content"])
        assert set(written) == set(SCHEMA["required"])
        assert written["kind"] in ("verse", "saying")
        assert 600 <= written["year"] <= 1500
        assert written["sources"][0]["url"].startswith("https://")

    async def test_on_demand_it_does_not(self, api: httpx2.AsyncClient) -> None:
        body, headers = REQUEST | {"response_format": FORMAT}, {"X-Emulator-Fault": "json_shape=mismatch"}
        answer = (await api.post("/chat/completions", json=body, headers=headers)).json()
        assert "title" not in json.loads(answer["choices"][0]["message"]["content"])

    @pytest.mark.parametrize("shape", ["fenced", "trailing_comma"])
    async def test_healing_repairs_its_syntax(self, api: httpx2.AsyncClient, shape: str) -> None:
        headers = {"X-Emulator-Fault": f"json_shape={shape}"}
        body: dict[str, Any] = REQUEST | {"response_format": FORMAT}
        for plugins, is_json in (([], False), ([{"id": "response-healing"}], True)):
            answer = (await api.post("/chat/completions", json=body | {"plugins": plugins}, headers=headers)).json()
            content = answer["choices"][0]["message"]["content"]
            assert (heal_json(content) == content) is is_json

    @given(st.integers(-1000, 1000), st.integers(0, 50))
    def test_numbers_stay_within_their_bounds(self, low: int, width: int) -> None:
        for kind in ("integer", "number"):
            schema = {"type": kind, "minimum": low, "maximum": low + width}
            assert low <= SchemaWriter(schema, random.Random(low)).write() <= low + width  # noqa: S311 - repeatable

    @pytest.mark.parametrize("pattern", [r"^[A-Z]{2}-\d{3}$", r"(cat|dog)s?", r"[^a]b+", r"\w+@\w+\.org"])
    def test_texts_match_their_pattern(self, pattern: str) -> None:
        assert re.search(pattern, matching_text(pattern))


class TestTools:
    async def test_a_required_tool_is_called(self, api: httpx2.AsyncClient) -> None:
        message = await message_of(api, tools=[TOOL], tool_choice="required")
        assert message["content"] is None
        assert message["tool_calls"][0]["function"]["name"] == "look_up"
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"term": "simulated term"}

    async def test_its_pieces_join(self, api: httpx2.AsyncClient) -> None:
        body = REQUEST | {"tools": [TOOL], "tool_choice": "required", "stream": True}
        events = parse_events((await api.post("/chat/completions", json=body)).text)
        pieces = [
            call["function"].get("arguments", "")
            for event in events[:-2]
            for call in event["choices"][0]["delta"].get("tool_calls", [])
        ]
        assert json.loads("".join(pieces)) == {"term": "simulated term"}
        assert events[-3]["choices"][0]["finish_reason"] == "tool_calls"


class TestReasoning:
    @pytest.mark.parametrize(
        ("model", "kinds"),
        [
            ("anthropic/claude-sonnet-5", ["reasoning.text", "reasoning.text"]),
            ("openai/gpt-5", ["reasoning.summary", "reasoning.encrypted"]),
            ("google/gemini-2.5-pro", ["reasoning.text", "reasoning.encrypted"]),
        ],
    )
    async def test_each_vendor_has_its_own_details(self, api: httpx2.AsyncClient, model: str, kinds: list[str]) -> None:
        message = await message_of(api, model=model, reasoning={"effort": "high"})
        assert [detail["type"] for detail in message["reasoning_details"]] == kinds
        assert message["reasoning"]

    async def test_it_can_be_hidden_but_is_billed(self, api: httpx2.AsyncClient) -> None:
        body = REQUEST | {"model": "openai/gpt-5", "reasoning": {"effort": "low", "exclude": True}}
        answer = (await api.post("/chat/completions", json=body)).json()
        assert answer["choices"][0]["message"]["reasoning"] is None
        assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0

    async def test_some_models_cannot_do_without(self, api: httpx2.AsyncClient) -> None:
        body = REQUEST | {"model": "openai/gpt-5", "reasoning": {"effort": "none"}}
        response = await api.post("/chat/completions", json=body)
        assert response.status_code == 400
        assert response.json()["error"]["metadata"] == {"provider_name": None}

    async def test_it_can_eat_the_whole_budget(self, api: httpx2.AsyncClient) -> None:
        body = REQUEST | {"model": "openai/gpt-5", "max_tokens": 5}
        answer = (await api.post("/chat/completions", json=body)).json()
        assert answer["choices"][0]["message"]["content"] == ""
        assert answer["choices"][0]["finish_reason"] == "length"


class TestPictures:
    async def test_a_chat_model_draws_when_asked(self, api: httpx2.AsyncClient) -> None:
        fields = {"model": "google/gemini-2.5-flash-image", "image_config": {"aspect_ratio": "16:9"}}
        message = await message_of(api, modalities=["image", "text"], **fields)
        assert picture_size(message["images"][0]["image_url"]["url"]) == (1344, 768)
        assert "images" not in await message_of(api, **fields)

    async def test_the_image_endpoint_draws_all_or_nothing(self, api: httpx2.AsyncClient) -> None:
        body = {"model": "openai/gpt-5-image", "prompt": "a lighthouse", "n": 2, "quality": "low"}
        answer = (await api.post("/images", json=body)).json()
        assert [picture_size(row["b64_json"]) for row in answer["data"]] == [(1024, 1024)] * 2
        assert answer["usage"]["completion_tokens_details"]["image_tokens"] == 2 * 272
        assert answer["data"][0] != answer["data"][1]

    @pytest.mark.parametrize("file_format", ["png", "jpeg"])
    async def test_a_picture_tells_its_prompt(self, api: httpx2.AsyncClient, file_format: str) -> None:
        body = {"model": "black-forest-labs/flux.2-pro", "prompt": "a lighthouse", "output_format": file_format}
        row = (await api.post("/images", json=body)).json()["data"][0]
        picture = Image.open(io.BytesIO(base64.b64decode(row["b64_json"])))
        picture.load()
        assert (picture.format, row["media_type"]) == (file_format.upper(), f"image/{file_format}")
        assert "a lighthouse" in (picture.info.get("Description"), picture.getexif().get(0x010E))

    async def test_some_models_draw_in_chats_only(self, api: httpx2.AsyncClient) -> None:
        model = "google/gemini-nano-banana-2.1"
        listed = (await api.get("/images/models")).json()["data"]
        assert model not in [row["id"] for row in listed]
        assert (await message_of(api, model=model, modalities=["image", "text"]))["images"]

    async def test_a_megapixel_has_its_price(self, api: httpx2.AsyncClient) -> None:
        body = {"model": "black-forest-labs/flux.2-pro", "prompt": "a lighthouse"}
        usage = (await api.post("/images", json=body)).json()["usage"]
        assert usage["completion_tokens"] == 4096
        assert usage["cost"] == 0.03

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"n": 2}, 400),
            ({"aspect_ratio": "8:1"}, 400),
            ({"output_format": "webp"}, 400),
            ({"size": "512x512", "resolution": "1K"}, 400),
            ({"model": "openai/gpt-4o"}, 404),
            ({"model": "openai/dall-e-3"}, 400),
        ],
    )
    async def test_what_a_model_does_not_take_is_refused(
        self, api: httpx2.AsyncClient, change: dict[str, Any], status: int
    ) -> None:
        body = {"model": "black-forest-labs/flux.2-pro", "prompt": "a lighthouse"} | change
        assert (await api.post("/images", json=body)).status_code == status

    async def test_partial_pictures_are_streamed(self, api: httpx2.AsyncClient) -> None:
        body = {"model": "openai/gpt-5-image", "prompt": "a lighthouse", "stream": True}
        events = parse_events((await api.post("/images", json=body)).text)
        kinds = [event["type"] for event in events[:-1]]
        assert kinds == ["image_generation.partial_image", "image_generation.completed"]

    async def test_parameters_are_described(self, api: httpx2.AsyncClient) -> None:
        rows = {row["id"]: row for row in (await api.get("/images/models")).json()["data"]}
        parameters = rows["openai/gpt-5-image"]["supported_parameters"]
        assert parameters["n"] == {"type": "range", "min": 1, "max": 10}
        assert parameters["quality"]["type"] == "enum"


class TestDocuments:
    FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}  # noqa: RUF012 - never changed

    async def test_they_are_parsed_once_for_a_fee(self, api: httpx2.AsyncClient) -> None:
        question = {"role": "user", "content": [{"type": "text", "text": "What is in it?"}, self.FILE]}
        body: dict[str, Any] = {"model": "qwen/qwen-plus", "messages": [question]}
        first = (await api.post("/chat/completions", json=body)).json()
        message = first["choices"][0]["message"]
        assert message["annotations"][0]["file"]["name"] == "a.pdf"
        assert first["usage"]["cost"] > 0.004
        body["messages"] += [message, {"role": "user", "content": "And then?"}]
        assert (await api.post("/chat/completions", json=body)).json()["usage"]["cost"] < 0.004

    async def test_a_model_that_reads_files_parses_none(self, api: httpx2.AsyncClient) -> None:
        question = {"role": "user", "content": [{"type": "text", "text": "What is in it?"}, self.FILE]}
        assert "annotations" not in await message_of(api, messages=[question])
