"""`POST /images`: all pictures asked for, or an error; as JSON or, from OpenAI's hosts, as events."""

from collections.abc import Iterator
from typing import Any

from openrouter_emulator.account.limits import require_credits
from openrouter_emulator.call import Call
from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.chat.generation import Answer, Generation
from openrouter_emulator.chat.models import unknown_model
from openrouter_emulator.chat.rendering import usage_object
from openrouter_emulator.chat.request import ChatRequest, Message
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.events import DONE, Data, Event, Pause, Raw
from openrouter_emulator.http.playback import Playback
from openrouter_emulator.http.wire import encode
from openrouter_emulator.images.formats import draw, media_type
from openrouter_emulator.images.offer import image_offers, picture_tokens
from openrouter_emulator.images.request import ImageRequest, check_against, parse_image_request
from openrouter_emulator.routing.requirements import Requirements
from openrouter_emulator.routing.route import Route, Router
from openrouter_emulator.tokens import count_tokens

MAX_BODY = 20 * 1024 * 1024


async def create_images(call: Call) -> Playback:
    if len(call.body) > MAX_BODY:
        raise ApiError(413, "Request body is too large.", metadata={"error_type": "payload_too_large"})
    request = parse_image_request(call.body)
    model = require_image_model(call, request)
    route = _find_route(call, request, model)
    streams = bool(request.stream) and route.host.name == "OpenAI"
    generation = _open(call, request, route, streams=streams)
    kind = media_type(request.output_format)
    call.exchange.generation_id = generation.id
    return call.play(
        _stream(call, generation, kind) if streams else _whole(call, generation, kind),
        headers={
            "Content-Type": "text/event-stream" if streams else "application/json",
            "X-Generation-Id": generation.id,
            "X-Provider-Name": route.host.name,
        },
        generation=generation,
        on_end=lambda _left: _close(call, generation),
    )


def _close(call: Call, generation: Generation) -> None:
    """Pictures are billed in full, whoever has left."""
    call.emulator.settle(generation)
    generation.forget_text()


def require_image_model(call: Call, request: ImageRequest) -> Model:
    model = call.emulator.catalogue.get(request.model)
    if model is None:
        raise unknown_model(request.model)
    if "image" not in model.output_modalities or model.prices.is_routed:
        raise ApiError(404, "No endpoints found that support the requested output modalities: image")
    if offer := image_offers().get(model.id):
        check_against(request, offer)
    return model


def _find_route(call: Call, request: ImageRequest, model: Model) -> Route:
    settings, prompt_tokens = call.emulator.settings, count_tokens(request.prompt)
    require_credits(settings, call.emulator.bill.total, model, prompt=prompt_tokens, output=0)
    needs = Requirements(prompt_tokens, None, frozenset(), frozenset(), ("image",), ())
    as_chat = ChatRequest(messages=[Message("user", request.prompt)], provider=request.provider)
    router = Router(call.emulator.hosts, call.emulator.health, call.faults, None)
    return router.find(as_chat, [model], needs, pinned=None, sort=None)


def _open(call: Call, request: ImageRequest, route: Route, *, streams: bool) -> Generation:
    host = route.host
    pictures = tuple(_picture(request, number) for number in range(request.count))
    tokens = picture_tokens(host.model, request.pixels, request.quality) * request.count
    generation = Generation(
        id=call.emulator.new_generation_id(),
        created_at=call.emulator.clock.now(),
        host=host,
        prompt_tokens=count_tokens(request.prompt) if _bills_text(host) else 0,
        answer=call.faults.answer(Answer(images=pictures, image_tokens=tokens)),
        streamed=streams,
        user=request.user,
        session_id=request.session_id,
        attempts=route.attempts,
    )
    call.faults.generation(generation)
    return generation


def _bills_text(host: Host) -> bool:
    return bool(host.prices.price("prompt"))


def _picture(request: ImageRequest, number: int) -> str:
    seed = f"{request.prompt}\x00{request.seed}\x00{number}"
    return draw(seed, request.pixels, prompt=request.prompt, file_format=request.output_format)


def _usage(call: Call, generation: Generation) -> dict[str, Any]:
    call.emulator.settle(generation)
    usage = usage_object(generation)
    del usage["prompt_tokens_details"]
    return call.faults.usage(usage, generation)


def _whole(call: Call, generation: Generation, kind: str) -> Iterator[Event]:
    yield Pause(call.emulator.settings.first_token_delay)
    rows = [{"b64_json": picture, "media_type": kind} for picture in generation.answer.images]
    body = {"created": int(generation.created_at), "data": rows, "usage": _usage(call, generation)}
    yield Raw(encode(call.faults.body(body, generation)))


def _stream(call: Call, generation: Generation, kind: str) -> Iterator[Event]:
    """A partial picture, then the finished one, for each picture."""
    yield Pause(call.emulator.settings.first_token_delay)
    for index, picture in enumerate(generation.answer.images):
        yield Data({"type": "image_generation.partial_image", "b64_json": picture, "partial_image_index": index})
    usage = _usage(call, generation)
    for picture in generation.answer.images:
        yield Data(
            {
                "type": "image_generation.completed",
                "b64_json": picture,
                "created": int(generation.created_at),
                "media_type": kind,
                "usage": usage,
            }
        )
    yield DONE
