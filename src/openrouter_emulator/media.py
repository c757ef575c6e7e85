"""Videos, speech, transcription and reranking: the shapes of their answers, at flat fees and with any model id."""

import base64
from decimal import Decimal
from typing import Any

import msgspec

from openrouter_emulator.call import Call
from openrouter_emulator.chat.generation import Answer, Fees, Generation
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.events import Raw
from openrouter_emulator.http.playback import Playback
from openrouter_emulator.tokens import split_tokens

VIDEO_FEE, SPEECH_FEE, RERANK_FEE = Decimal("0.25"), Decimal("0.001"), Decimal("3.4e-7")
FEE_PER_SECOND = Decimal("0.0001")
VIDEO_SECONDS = 2.0
"""A video is pending for so long."""
BYTES_PER_SECOND = 32_000
"""Of 16-bit mono sound at 16 kHz, which every recording is taken for."""


async def create_video(call: Call) -> Playback:
    """202 with the address to poll."""
    body = _body(call, "model", "prompt")
    generation = _charge(call, VIDEO_FEE, kind="gen-vid", model=body["model"])
    return call.answer_json(_video(generation, is_ready=False), status=202)


async def poll_video(call: Call) -> Playback:
    generation = call.emulator.bill.get(call.request.path_params["id"])
    if generation is None:
        raise ApiError(404, "Video generation not found")
    is_ready = call.emulator.clock.now() >= generation.created_at + VIDEO_SECONDS
    return call.answer_json(_video(generation, is_ready=is_ready))


def _video(generation: Generation, *, is_ready: bool) -> dict[str, Any]:
    found = {"id": generation.id, "polling_url": f"/api/v1/videos/{generation.id}", "generation_id": generation.id}
    if not is_ready:
        return found | {"status": "pending"}
    usage = {"cost": generation.billed, "is_byok": False}
    return found | {"status": "completed", "unsigned_urls": ["https://example.org/simulated.mp4"], "usage": usage}


async def transcribe(call: Call) -> Playback:
    """Billed by the second."""
    body = _body(call, "model", "input_audio")
    try:
        seconds = len(base64.b64decode(str(body["input_audio"]["data"]))) / BYTES_PER_SECOND
    except (KeyError, TypeError, ValueError):
        raise ApiError(400, "'input_audio.data' must be base64") from None
    generation = _charge(call, FEE_PER_SECOND * Decimal(str(seconds)), model=body["model"])
    usage = {"seconds": seconds, "cost": generation.billed}
    return call.answer_json({"text": "A simulated transcription.", "usage": usage})


async def speak(call: Call) -> Playback:
    """Binary: a tenth of a second of silence for each token."""
    body = _body(call, "model", "input")
    generation = _charge(call, SPEECH_FEE, model=body["model"])
    silence = bytes(BYTES_PER_SECOND // 10 * len(split_tokens(str(body["input"]))))
    headers = {"Content-Type": "audio/pcm", "X-Generation-Id": generation.id}
    return call.play(iter([Raw(silence)]), headers=headers)


async def rerank(call: Call) -> Playback:
    """Documents with more of the query's words come first."""
    body = _body(call, "model", "query", "documents")
    generation = _charge(call, RERANK_FEE, kind="gen-rerank", model=body["model"])
    words = set(str(body["query"]).lower().split())
    scores = [len(words & set(str(text).lower().split())) / max(1, len(words)) for text in body["documents"]]
    ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
    results = [
        {"index": index, "relevance_score": scores[index], "document": {"text": body["documents"][index]}}
        for index in ranked
    ]
    usage = {"search_units": 1, "cost": generation.billed}
    return call.answer_json({"id": generation.id, "model": body["model"], "results": results, "usage": usage})


def _body(call: Call, *required: str) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(call.body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ApiError(400, f"Input validation failed: {error}") from None
    missing = [name for name in required if not body.get(name)]
    if missing:
        raise ApiError(400, f"Input validation failed: '{missing[0]}' is required")
    return body


def _charge(call: Call, fee: Decimal, *, model: str, kind: str = "gen") -> Generation:
    """Enter the fee; the host is that of the default model, since the catalogue has none for these."""
    emulator = call.emulator
    stand_in = emulator.catalogue.get(emulator.settings.default_model)
    if stand_in is None:
        raise ApiError(500, "The default model is not in the catalogue")
    generation = Generation(
        id=emulator.new_generation_id(kind),
        created_at=emulator.clock.now(),
        host=emulator.hosts.of(stand_in)[0],
        prompt_tokens=0,
        answer=Answer(),
        streamed=False,
        fees=Fees(fee),
        served_model=model,
    )
    call.exchange.generation_id = generation.id
    emulator.settle(generation)
    return generation
