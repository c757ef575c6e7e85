"""Pictures, documents and sound in a prompt: what is refused, what is counted, what is parsed and billed."""

import base64
import hashlib
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.emulator.process import EmulatorProcess, parse_events
from tests.support.samples import data_url, pdf, png, wav

pytestmark = pytest.mark.anyio

TEXT_MODEL, SEEING, HEARING = "qwen/qwen-plus", "openai/gpt-4o-mini", "google/gemini-2.5-flash"
BOOK = pdf("Of patience", "Of thanks", "Of hope")
SCAN = pdf("", "")


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def sound(content: bytes, format_: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(content).decode(), "format": format_}}


def document(content: bytes = BOOK, name: str = "a.pdf") -> dict[str, Any]:
    return {"type": "file", "file": {"filename": name, "file_data": data_url(content, "application/pdf")}}


def asked(*parts: dict[str, Any], model: str, engine: str | None = None, **more: Any) -> dict[str, Any]:
    question = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}
    plugins = {"plugins": [{"id": "file-parser", "pdf": {"engine": engine}}]} if engine else {}
    return {"model": model, "messages": [question], "max_tokens": 200, **plugins, **more}


async def post(api: httpx2.AsyncClient, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.post("/chat/completions", json=body, headers=headers)).json(parse_float=Decimal)
    return found


def parses(emulator: EmulatorProcess, content: bytes) -> dict[str, Any]:
    return emulator.parses(hashlib.sha256(content).hexdigest())


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("part", "kind"),
        [
            (picture("data:image/png;base64,!!!"), "invalid_image"),
            (picture(data_url(png(), "image/jpeg")), "invalid_image"),
            (picture(data_url(png()[:20], "image/png")), "invalid_image"),
            (picture(data_url(b"<svg/>", "image/svg+xml")), "unsupported_image_format"),
            (picture("http://example.org/a.png"), "invalid_image"),
            (sound(png()), "invalid_request"),
            (sound(wav(), "mp3"), "invalid_request"),
            (sound(wav(), "wma"), "invalid_request"),
            (
                {"type": "input_audio", "input_audio": {"data": "https://example.org/a.wav", "format": "wav"}},
                "invalid_request",
            ),
            (document(b"no document"), "invalid_request"),
            (
                {"type": "file", "file": {"filename": "a.pdf", "file_data": base64.b64encode(BOOK).decode()}},
                "invalid_request",
            ),
        ],
    )
    async def test_what_is_not_what_it_says(self, api: httpx2.AsyncClient, part: dict[str, Any], kind: str) -> None:
        answer = await post(api, asked(part, model=HEARING))
        assert answer["error"]["code"] == 400
        assert answer["error"]["metadata"]["error_type"] == kind

    @pytest.mark.parametrize(
        ("part", "model", "kind"),
        [
            (picture(data_url(png(), "image/png")), TEXT_MODEL, "image"),
            (sound(wav()), SEEING, "audio"),
            (sound(wav()), TEXT_MODEL, "audio"),
        ],
    )
    async def test_a_model_without_the_kind(
        self, api: httpx2.AsyncClient, part: dict[str, Any], model: str, kind: str
    ) -> None:
        answer = await post(api, asked(part, model=model))
        assert answer["error"]["code"] == 404
        assert answer["error"]["message"] == f"No endpoints found that support {kind} input"

    async def test_only_what_the_model_lacks_is_named(self, api: httpx2.AsyncClient) -> None:
        answer = await post(api, asked(picture(data_url(png(), "image/png")), sound(wav()), model=SEEING))
        assert answer["error"]["message"] == "No endpoints found that support audio input"

    async def test_a_model_that_cannot_read_files_natively(self, api: httpx2.AsyncClient) -> None:
        answer = await post(api, asked(document(), model=TEXT_MODEL, engine="native"))
        assert answer["error"]["message"] == "No endpoints found that support file input"

    async def test_an_engine_nobody_knows(self, api: httpx2.AsyncClient) -> None:
        assert (await post(api, asked(document(), model=TEXT_MODEL, engine="guess")))["error"]["code"] == 400


class TestTokens:
    async def usage(self, api: httpx2.AsyncClient, *parts: dict[str, Any], model: str = HEARING) -> dict[str, Any]:
        found: dict[str, Any] = (await post(api, asked(*parts, model=model)))["usage"]
        return found

    async def test_pictures_by_their_size(self, api: httpx2.AsyncClient) -> None:
        bare = (await self.usage(api))["prompt_tokens"]
        for size, tokens in (((640, 480), 409), ((50, 50), 85), ((4000, 3000), 1600)):
            used = await self.usage(api, picture(data_url(png(*size), "image/png")))
            assert used["prompt_tokens"] == bare + tokens

    async def test_sound_by_the_second_at_its_own_price(self, api: httpx2.AsyncClient) -> None:
        bare = await self.usage(api)
        used = await self.usage(api, sound(wav(10)))
        assert used["prompt_tokens_details"]["audio_tokens"] == 320
        assert used["prompt_tokens"] == bare["prompt_tokens"] + 320
        prices = {"text": Decimal("0.0000003"), "audio": Decimal("0.000001")}
        paid = used["cost_details"]["upstream_inference_prompt_cost"]
        assert paid == bare["prompt_tokens"] * prices["text"] + 320 * prices["audio"]

    async def test_documents_by_the_page(self, api: httpx2.AsyncClient) -> None:
        bare = (await self.usage(api))["prompt_tokens"]
        used = await self.usage(api, document())
        assert used["prompt_tokens"] == bare + 3 * 1500
        assert used["prompt_tokens_details"]["file_tokens"] == 3 * 1500


class TestParsing:
    async def test_recognition_costs_by_the_page(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        answer = await post(
            api, asked(document(SCAN), model=TEXT_MODEL, engine="mistral-ocr"), **{"X-OpenRouter-Metadata": "enabled"}
        )
        read = answer["choices"][0]["message"]["annotations"][0]["file"]
        assert read["name"] == "a.pdf"
        assert [part["type"] for part in read["content"]] == ["text", "image_url"]
        details = answer["usage"]["cost_details"]
        assert answer["usage"]["cost"] == details["upstream_inference_cost"] + Decimal("0.004")
        assert answer["openrouter_metadata"]["pipeline"][0]["cost_usd"] == Decimal("0.004")
        told = parses(emulator, SCAN)
        assert (told["parsed"], told["fee"]) == (1, "0.004")

    async def test_the_free_engine_finds_the_text_layer_or_nothing(self, api: httpx2.AsyncClient) -> None:
        for content, found in ((BOOK, ["Of patience", "Of thanks", "Of hope"]), (SCAN, [])):
            answer = await post(api, asked(document(content), model=TEXT_MODEL, engine="cloudflare-ai"))
            assert answer["usage"]["cost"] == answer["usage"]["cost_details"]["upstream_inference_cost"]
            parts = answer["choices"][0]["message"]["annotations"][0]["file"]["content"]
            assert [line for part in parts for line in part["text"].splitlines()[1:-1]] == found

    async def test_what_comes_back_is_not_parsed_again(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        body = asked(document(), model=TEXT_MODEL, engine="mistral-ocr")
        first = await post(api, body)
        body["messages"] += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
        again = await post(api, body)
        assert "annotations" not in again["choices"][0]["message"]
        assert again["usage"]["cost"] == again["usage"]["cost_details"]["upstream_inference_cost"]
        told = parses(emulator, BOOK)
        assert (told["parsed"], told["fee"], len(told["files"])) == (1, "0.006", 2)

    async def test_what_was_parsed_before_a_failure_is_billed_and_handed_out(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        body = asked(document(), model=TEXT_MODEL, engine="mistral-ocr")
        response = await api.post("/chat/completions", json=body, headers={"X-Emulator-Fault": "upstream_503"})
        assert response.status_code == 503
        (annotation,) = response.json()["error"]["metadata"]["file_annotations"]
        assert annotation["file"]["hash"] == hashlib.sha256(BOOK).hexdigest()
        assert emulator.bill(response.headers["X-Generation-Id"])["total"] == "0.006"

    async def test_a_stream_tells_it_before_its_end(self, api: httpx2.AsyncClient) -> None:
        body = asked(document(), model=TEXT_MODEL, engine="cloudflare-ai", stream=True)
        events = parse_events((await api.post("/chat/completions", json=body)).text)
        told = [
            one
            for event in events[:-1]
            for choice in event["choices"]
            for one in choice["delta"].get("annotations", [])
        ]
        assert [one["file"]["name"] for one in told] == ["a.pdf"]
