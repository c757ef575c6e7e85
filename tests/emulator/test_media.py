"""Videos, speech, transcription and reranking."""

import base64
from decimal import Decimal

import httpx2
import pytest

from tests.emulator.process import EmulatorProcess

pytestmark = pytest.mark.anyio


class TestMedia:
    async def test_a_video_is_polled_for(self, api: httpx2.AsyncClient, emulator: EmulatorProcess) -> None:
        started = await api.post("/videos", json={"model": "x/video", "prompt": "a lighthouse"})
        assert started.status_code == 202
        address = started.json()["polling_url"].removeprefix("/api/v1")
        assert (await api.get(address)).json()["status"] == "pending"
        emulator.advance(3)
        assert (await api.get(address)).json()["usage"]["cost"] == 0.25

    async def test_transcription_is_billed_by_the_second(
        self, api: httpx2.AsyncClient, emulator: EmulatorProcess
    ) -> None:
        sound = base64.b64encode(bytes(64_000)).decode()
        body = {"model": "x/stt", "input_audio": {"data": sound, "format": "wav"}}
        assert (await api.post("/audio/transcriptions", json=body)).json()["usage"]["seconds"] == 2
        assert Decimal(emulator.bill()["total"]) == Decimal("0.0002")

    async def test_speech_is_binary(self, api: httpx2.AsyncClient) -> None:
        response = await api.post("/audio/speech", json={"model": "x/tts", "input": "hello world"})
        assert response.headers["content-type"] == "audio/pcm"
        assert len(response.content) == 6_400

    async def test_documents_are_ranked(self, api: httpx2.AsyncClient) -> None:
        body = {"model": "x/rank", "query": "night prayer", "documents": ["noon", "the night prayer"]}
        answer = (await api.post("/rerank", json=body)).json()
        assert answer["id"].startswith("gen-rerank-")
        assert [row["index"] for row in answer["results"]] == [1, 0]

    @pytest.mark.parametrize("path", ["/videos", "/audio/transcriptions", "/audio/speech", "/rerank"])
    async def test_incomplete_bodies_are_refused(self, api: httpx2.AsyncClient, path: str) -> None:
        assert (await api.post(path, json={"model": "x/y"})).status_code == 400
