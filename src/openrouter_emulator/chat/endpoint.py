"""`POST /chat/completions`."""

from collections.abc import Iterator

from starlette.requests import Request

from openrouter_emulator.account.authentication import require_key
from openrouter_emulator.answers.text import write_answer
from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.chat.generation import Answer, Generation
from openrouter_emulator.chat.prompt import count_prompt_tokens
from openrouter_emulator.chat.rendering import completion_object, stream_events
from openrouter_emulator.chat.request import ChatRequest, parse_chat_request
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.events import Event, Pause, Raw, waiting
from openrouter_emulator.http.playback import Playback, paced
from openrouter_emulator.http.wire import encode
from openrouter_emulator.state import Emulator
from openrouter_emulator.tokens import split_tokens

PROVIDER_NAMES = {
    "anthropic": "Anthropic",
    "openai": "OpenAI",
    "google": "Google AI Studio",
    "deepseek": "DeepSeek",
    "qwen": "Alibaba",
    "x-ai": "xAI",
    "moonshotai": "Moonshot AI",
    "black-forest-labs": "Black Forest Labs",
}


async def create_chat_completion(request: Request) -> Playback:
    """Check, choose a model, write, and send it as JSON or as a stream."""
    emulator: Emulator = request.app.state.emulator
    require_key(request, emulator.settings.api_keys)
    body = parse_chat_request(await request.body())
    generation = open_generation(emulator, body, require_models(emulator, body)[0], request)
    request.scope["exchange"].generation_id = generation.id
    return play(emulator, generation, request)


def require_models(emulator: Emulator, body: ChatRequest) -> list[Model]:
    """The models to try, in order; one id that is not valid spoils the whole request."""
    models = []
    for model_id in body.model_ids or [emulator.settings.default_model]:
        model = emulator.catalogue.get(model_id)
        if model is None:
            raise ApiError(400, f"{model_id} is not a valid model ID")
        models.append(model)
    return models


def open_generation(emulator: Emulator, body: ChatRequest, model: Model, request: Request) -> Generation:
    return Generation(
        id=emulator.new_generation_id(),
        created_at=emulator.clock.now(),
        model=model,
        provider=PROVIDER_NAMES.get(model.author, "DeepInfra"),
        prompt_tokens=count_prompt_tokens(body),
        answer=compose_answer(emulator, body, model),
        streamed=body.streams,
        user=body.user,
        session_id=body.session_id or request.headers.get("x-session-id"),
    )


def compose_answer(emulator: Emulator, body: ChatRequest, model: Model) -> Answer:
    """The simulated text, cut where the request or the model's own limit cuts it."""
    tokens = split_tokens(write_answer(body.messages, seed=emulator.settings.seed))
    limit = min(body.output_limit or model.max_completion_tokens, model.max_completion_tokens)
    return Answer(tuple(tokens[:limit]), "stop" if len(tokens) <= limit else "length")


def play(emulator: Emulator, generation: Generation, request: Request) -> Playback:
    events = _stream(emulator, generation) if generation.streamed else _whole(emulator, generation)
    kind = "text/event-stream" if generation.streamed else "application/json"

    def leave() -> None:
        generation.cancelled = True
        sent = request.scope["exchange"].content_tokens_sent
        emulator.settle(generation, completion_tokens=sent if generation.streamed else None)

    return Playback(
        paced(events, tokens_per_second=emulator.settings.tokens_per_second),
        headers={"Content-Type": kind, "X-Generation-Id": generation.id, "Cache-Control": "no-cache"},
        on_leave=leave,
    )


def _stream(emulator: Emulator, generation: Generation) -> Iterator[Event]:
    settings = emulator.settings
    yield from waiting(settings.first_token_delay, settings.comment_interval)
    yield from stream_events(
        generation, per_chunk=settings.tokens_per_chunk, settle=lambda: emulator.settle(generation)
    )


def _whole(emulator: Emulator, generation: Generation) -> Iterator[Event]:
    """A JSON answer arrives when the last token would have."""
    settings = emulator.settings
    writing = len(generation.answer.tokens) / settings.tokens_per_second if settings.tokens_per_second else 0
    yield Pause(settings.first_token_delay + writing)
    emulator.settle(generation)
    yield Raw(encode(completion_object(generation)))
