"""Parts that stand for bytes: measured and told apart without them, sent with them."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from app.openrouter.cache_blocks import BlockReader
from app.openrouter.catalog import shipped_catalog
from app.openrouter.media import Media, as_sent, kinds_in, media_in, with_media
from app.openrouter.prompt_cache import CachePlanner
from app.openrouter.routing import Needs, able_models
from app.openrouter.tokens import TOKENS_PER_MESSAGE, estimate_prompt_tokens, estimate_tokens

PICTURE = Media(kind="image", name="a.png", source="5" * 64, media_type="image/png", width=640, height=480)
BOOK = Media(kind="pdf", name="b.pdf", source="6" * 64, media_type="application/pdf", pages=3)
VOICE = Media(kind="audio", name="c.wav", source="7" * 64, media_type="audio/wav", seconds=12.5)
LINK = Media(kind="image", name="d.png", source="https://example.org/d.png")
CONTENTS = {"5" * 64: b"picture", "6" * 64: b"book", "7" * 64: b"voice"}


def said(text: str, *media: Media, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": with_media(text, media)}


def sent(*media: Media) -> Sequence[Any]:
    (message,) = as_sent([said("What is this?", *media)], CONTENTS)
    content: Sequence[Any] = message["content"]
    return content


class TestOnTheWire:
    def test_text_comes_first_and_then_what_was_given_in_its_order(self) -> None:
        text, picture, book, voice, link = sent(PICTURE, BOOK, VOICE, LINK)

        assert text == {"type": "text", "text": "What is this?"}
        assert picture == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(b'picture')}"}}
        data = f"data:application/pdf;base64,{b64(b'book')}"
        assert book == {"type": "file", "file": {"filename": "b.pdf", "file_data": data}}
        assert voice == {"type": "input_audio", "input_audio": {"data": b64(b"voice"), "format": "wav"}}
        assert link == {"type": "image_url", "image_url": {"url": "https://example.org/d.png"}}

    def test_text_alone_stays_plain(self) -> None:
        assert said("Hello") == {"role": "user", "content": "Hello"}
        assert as_sent([said("Hello")], {}) == [said("Hello")]

    def test_marks_stay_where_they_were_put(self) -> None:
        system = {"role": "system", "content": "Be kind. " * 800}
        messages = [system, said("Look " * 900, PICTURE), said("Yes.", role="assistant"), said("And?", PICTURE)]
        plan = CachePlanner().plan(messages, "anthropic/claude-sonnet-4.5", now=0.0, conversation="c")
        marked = [point for point in plan.breakpoints if "media" in part_at(plan.messages, plan, point.block)]
        assert marked

        out = as_sent(plan.messages, CONTENTS)
        parts = [part for message in out for part in message["content"] if isinstance(part, dict)]
        assert all("media" not in part for part in parts)
        assert sum("cache_control" in part for part in parts) == len(plan.breakpoints)
        assert any(part["type"] == "image_url" and "cache_control" in part for part in parts)

    def test_what_goes_along_can_be_listed(self) -> None:
        assert list(media_in([said("a", PICTURE), said("b"), said("c", BOOK, VOICE)])) == [PICTURE, BOOK, VOICE]


class TestTokens:
    def test_they_go_by_size_pages_and_seconds(self) -> None:
        bare = TOKENS_PER_MESSAGE + estimate_tokens("Look")
        for media, tokens in ((PICTURE, 512), (BOOK, 7_500), (VOICE, 500), (LINK, 1_600)):
            assert estimate_prompt_tokens([said("Look", media)]) == bare + tokens

    def test_what_came_in_openrouters_shape_is_guessed_too(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        voice = {"type": "input_audio", "input_audio": {"data": "A" * 16_000, "format": "wav"}}
        message = {"role": "user", "content": [{"type": "text", "text": "Look"}, image, voice]}
        bare = TOKENS_PER_MESSAGE + estimate_tokens("Look")
        assert estimate_prompt_tokens([message]) == bare + 1_600 + 120
        assert BlockReader().read([message]).ends[-1] == bare + 1_600 + 120
        assert kinds_in([message, said("Look", BOOK)]) == {"image", "audio", "pdf"}

    def test_the_cache_planner_counts_the_same(self) -> None:
        messages = [said("Look", PICTURE, BOOK)]
        assert BlockReader().read(messages).ends[-1] == estimate_prompt_tokens(messages)

    @pytest.mark.parametrize(("width", "height"), [(1, 1), (10_000, 10_000)])
    def test_a_picture_has_bounds(self, width: int, height: int) -> None:
        found = Media(kind="image", name="", source="x", width=width, height=height).tokens
        assert found == (300 if width == 1 else 1_600)

    def test_an_unknown_length_is_guessed_by_the_bytes(self) -> None:
        assert Media(kind="audio", name="", source="x", size_bytes=40_000).tokens == 400


class TestIdentity:
    def test_a_prompt_stays_alike_while_its_parts_do(self) -> None:
        before = BlockReader().read([said("Look", PICTURE)]).prefixes
        assert BlockReader().read([said("Look", PICTURE), said("Yes", role="assistant")]).prefixes[:2] == before

    def test_other_bytes_are_another_prompt(self) -> None:
        other = Media(kind="image", name="a.png", source="9" * 64, media_type="image/png", width=640, height=480)
        one, two = (BlockReader().read([said("Look", each)]).prefixes for each in (PICTURE, other))
        assert one[0] == two[0]
        assert one[1] != two[1]


class TestWords:
    def test_everything_can_be_told_in_words(self) -> None:
        assert [each.described for each in (PICTURE, BOOK, VOICE, LINK)] == [
            'Picture "a.png", 640x480',
            'Document "b.pdf", 3 pages',
            'Recording "c.wav", 12 s',
            'Picture "d.png"',
        ]


class TestAbleModels:
    @pytest.mark.parametrize(
        ("needs", "kind"),
        [(Needs(images=True), "image"), (Needs(audio=True), "audio"), (Needs(native_files=True), "file")],
    )
    def test_all_take_the_kind_and_the_cheapest_come_first(self, needs: Needs, kind: str) -> None:
        found = able_models(shipped_catalog(), needs)
        prices = [model.prices.base.completion or 0 for model in found]
        assert len(found) > 2
        assert all(kind in model.input_modalities for model in found)
        assert prices == sorted(prices)

    def test_several_needs_are_all_met(self) -> None:
        found = able_models(shipped_catalog(), Needs(audio=True, schema=True))
        assert found
        assert all(model.knows("structured_outputs") and model.reads("audio") for model in found)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def part_at(messages: Sequence[Any], plan: Any, block: int) -> Any:
    at, number = plan.ticket.blocks.places[block]
    content = messages[at]["content"]
    return {} if isinstance(content, str) else content[number]
