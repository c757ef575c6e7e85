"""Pictures on the wire, as they come and as they are asked for."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from app.openrouter.drawing import most_picture_tokens, read_drawing, shipped_drawings
from app.openrouter.errors import Moderated, NoPicture, UnreadableAnswer, UpstreamUnavailable
from app.openrouter.images import Drawing, ImageRequest, decode_picture, read_chat, read_images
from app.openrouter.types import Completion

BYTES = b"\x89PNG and so on"
B64 = base64.b64encode(BYTES).decode()
USAGE = {"prompt_tokens": 0, "completion_tokens": 4175, "cost": 0.04}


def read(body: Any, *, most_bytes: int = 1_000) -> Drawing:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_images(raw, model="m", provider="p", generation_id="gen-1", most_bytes=most_bytes)


class TestReading:
    def test_a_whole_answer(self) -> None:
        drawing = read({"created": 0, "data": [{"b64_json": B64, "media_type": "image/png"}], "usage": USAGE})
        assert (drawing.pictures, drawing.unreadable, drawing.generation_id) == ((BYTES,), 0, "gen-1")
        assert drawing.usage is not None
        assert (drawing.usage.cost, drawing.usage.completion_tokens) == (Decimal("0.04"), 4_175)

    @pytest.mark.parametrize(
        "body",
        [
            {"data": [{"b64_json": B64}]},
            b"\n      \n   " + json.dumps({"data": [{"b64_json": B64}], "usage": None}).encode(),
            {"data": [{"url": f"data:image/png;base64,{B64}"}, {"b64_json": None}, 7]},
            {"data": [{"b64_json": B64}, {"b64_json": "***"}], "created": "today", "extra": {}},
        ],
    )
    def test_what_is_missing_or_odd_does_not_matter(self, body: Any) -> None:
        assert read(body).pictures == (BYTES,)

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (b"<html>", UnreadableAnswer),
            (b"\xff\xfe", UnreadableAnswer),
            ([], UnreadableAnswer),
            ({"data": []}, NoPicture),
            ({}, NoPicture),
            ({"error": {"code": 502, "message": "down"}}, UpstreamUnavailable),
            ({"data": [{"b64_json": "***"}]}, UnreadableAnswer),
            ({"data": [{"url": "https://example.com/a.png"}]}, UnreadableAnswer),
        ],
    )
    def test_what_is_no_picture_is_a_failure(self, body: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            read(body)

    def test_what_a_failure_cost_is_told(self) -> None:
        with pytest.raises(NoPicture) as caught:
            read({"data": [], "usage": USAGE})
        assert caught.value.partial is not None
        assert caught.value.partial.usage is not None
        assert caught.value.partial.usage.cost == Decimal("0.04")
        assert caught.value.generation_id == "gen-1"

    def test_several_pictures_of_a_chat(self) -> None:
        url = f"data:image/png;base64,{B64}"
        told = Completion(model="served", provider="host", images=(url, url))
        drawing = read_chat(told, model="asked", most_bytes=1_000)
        assert (len(drawing.pictures), drawing.model, drawing.provider) == (2, "served", "host")

    @pytest.mark.parametrize(
        ("told", "error"),
        [
            (Completion(content="I would rather not draw."), NoPicture),
            (Completion(refusal="No."), Moderated),
            (Completion(finish_reason="content_filter"), Moderated),
        ],
    )
    def test_words_alone_are_no_picture(self, told: Completion, error: type[Exception]) -> None:
        with pytest.raises(error):
            read_chat(told, model="m", most_bytes=1_000)


class TestDecoding:
    @pytest.mark.parametrize("text", [B64, B64.rstrip("="), f"data:image/webp;base64,{B64}", B64[:4] + "\n" + B64[4:]])
    def test_base64_in_any_dress(self, text: str) -> None:
        assert decode_picture(text, most_bytes=100) == BYTES

    @pytest.mark.parametrize("text", ["", "data:image/png,abc", "data:,", "https://example.com/x", "äöü"])
    def test_nothing_else(self, text: str) -> None:
        assert decode_picture(text, most_bytes=100) is None

    def test_no_more_than_is_allowed(self) -> None:
        assert decode_picture(B64, most_bytes=len(BYTES)) == BYTES
        assert decode_picture(B64, most_bytes=len(BYTES) - 1) is None
        assert decode_picture("A" * 10_000, most_bytes=100) is None


class TestAsking:
    def test_the_route_made_for_pictures(self) -> None:
        request = ImageRequest(
            model="m", prompt="p", count=2, parameters={"aspect_ratio": "16:9"}, references=["data:x"], user="u"
        )
        assert request.to_wire() == {
            "model": "m",
            "prompt": "p",
            "aspect_ratio": "16:9",
            "n": 2,
            "input_references": [{"type": "image_url", "image_url": {"url": "data:x"}}],
            "user": "u",
        }

    def test_a_chat(self) -> None:
        parameters = {"aspect_ratio": "1:1", "resolution": "2K", "background": "opaque", "seed": 7}
        request = ImageRequest(
            model="m", prompt="p", parameters=parameters, modalities=("image",), references=["data:x"]
        )
        body = request.as_chat().to_wire(stream=False)
        assert (body["modalities"], body["seed"]) == (("image",), 7)
        assert body["image_config"] == {"aspect_ratio": "1:1", "image_size": "2K"}
        assert body["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": "data:x"}}


class TestDescriptors:
    def test_a_row(self) -> None:
        row = {
            "supported_parameters": {
                "aspect_ratio": {"type": "enum", "values": ["1:1", 3]},
                "quality": {"type": "mystery"},
                "n": {"type": "range", "min": 1, "max": 10},
                "input_references": {"type": "range", "max": 4},
                "seed": {"type": "boolean"},
            },
            "supports_streaming": True,
        }
        drawing = read_drawing(row)
        assert dict(drawing.choices) == {"aspect_ratio": ("1:1",)}
        assert (drawing.most_images, drawing.most_references, drawing.takes_seed, drawing.streams) == (
            10,
            4,
            True,
            True,
        )
        bare = read_drawing({})
        assert (dict(bare.choices), bare.most_images, bare.most_references, bare.takes_seed) == ({}, 1, 0, False)

    def test_the_documented_successors_are_shipped(self) -> None:
        wanted = {"google/gemini-2.5-flash-image", "openai/gpt-5-image", "black-forest-labs/flux.2-pro"}
        assert wanted | {"black-forest-labs/flux.2-klein-4b"} <= set(shipped_drawings())

    def test_larger_pictures_may_count_more(self) -> None:
        assert most_picture_tokens(None) == most_picture_tokens("1K") >= 2 * 4_175 - 200
        assert most_picture_tokens("4K") > 16 * 4_096 > most_picture_tokens("2K") > 4 * 4_096
        assert most_picture_tokens("16K") == most_picture_tokens("4K")
