"""`POST /chat/completions`: check, find a host, write, send, and settle what it cost."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from openrouter_emulator.account.limits import require_credits
from openrouter_emulator.answers.files import read_files
from openrouter_emulator.answers.healing import heal_json, heals
from openrouter_emulator.call import Call
from openrouter_emulator.chat.composition import compose_answer
from openrouter_emulator.chat.failures import bill_parsing
from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.chat.models import require_models, sort_by_suffix, strategy_of
from openrouter_emulator.chat.prompt import count_prompt_tokens
from openrouter_emulator.chat.rendering import completion_object, stream_events, usage_object
from openrouter_emulator.chat.request import ChatRequest, parse_chat_request
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.events import Data, Event, Pause, Raw, waiting
from openrouter_emulator.http.playback import Playback
from openrouter_emulator.http.wire import encode
from openrouter_emulator.inputs.parts import count_media
from openrouter_emulator.prompt_cache.cache import Visit
from openrouter_emulator.routing.requirements import read_requirements
from openrouter_emulator.routing.route import Route, Router
from openrouter_emulator.routing.sticky import conversation_of
from openrouter_emulator.tokens import split_tokens

ACCOUNT = "account"


async def create_chat_completion(call: Call) -> Playback:
    request = parse_chat_request(call.body)
    prompt_tokens = count_prompt_tokens(request)
    route = _route_or_parsed(call, request, prompt_tokens)
    visit = call.emulator.look_up_prompt(ACCOUNT, route.host, request)
    generation = open_generation(call, request, route, visit, prompt_tokens)
    call.exchange.generation_id = generation.id
    begin = beginning(call, request, route, visit)
    metadata = routing_metadata(call, request, route, generation) if wants_metadata(call) else None
    send = _stream if request.streams else _whole
    return call.play(
        send(call, generation, begin, metadata),
        headers={
            "Content-Type": "text/event-stream" if request.streams else "application/json",
            "X-Generation-Id": generation.id,
            "Cache-Control": "no-cache",
        },
        tokens_per_second=call.emulator.settings.tokens_per_second,
        generation=generation,
        on_end=lambda left: close_generation(call, generation, left=left),
    )


def find_route(call: Call, request: ChatRequest, prompt_tokens: int) -> Route:
    """The host that serves; limits and credits are looked at before any host is asked."""
    emulator = call.emulator
    settings = emulator.settings
    models = require_models(emulator.catalogue, request, default=settings.default_model, chance=emulator.chance)
    if models[0].is_free:
        emulator.free_limits.take(settings)
    output = min(request.output_limit or models[0].max_completion_tokens, models[0].max_completion_tokens)
    require_credits(settings, emulator.bill.total, models[0], prompt=prompt_tokens, output=output)
    conversation, _ = conversation_of(request, call.request.headers.get("x-session-id"))
    ordered = bool(request.provider and request.provider.order)
    pinned = None if ordered else emulator.sticky.pinned((ACCOUNT, models[0].id, conversation))
    router = Router(emulator.hosts, emulator.health, call.faults, emulator.chance if settings.load_balancing else None)
    needs = read_requirements(request, prompt_tokens=prompt_tokens)
    return router.find(request, models, needs, pinned=pinned, sort=sort_by_suffix(request))


def _route_or_parsed(call: Call, request: ChatRequest, prompt_tokens: int) -> Route:
    """A host, or the refusal of the last one: with what was parsed before any host was asked, which is billed."""
    try:
        return find_route(call, request, prompt_tokens)
    except ApiError as error:
        bill_parsing(call, request, error)
        raise


def open_generation(call: Call, request: ChatRequest, route: Route, visit: Visit, prompt_tokens: int) -> Generation:
    emulator, headers = call.emulator, call.request.headers
    parsing = read_files(request, route.host.model)
    answer, fees = compose_answer(request, route.host, parsing, seed=emulator.settings.seed)
    answer = call.faults.answer(answer)
    if heals(request):
        answer = replace(answer, tokens=tuple(split_tokens(heal_json(answer.text))))
    generation = Generation(
        id=emulator.new_generation_id(),
        created_at=emulator.clock.now(),
        host=route.host,
        prompt_tokens=prompt_tokens + fees.found_tokens,
        answer=answer,
        streamed=request.streams,
        media=count_media(part for message in request.messages for part in message.parts),
        cache=visit.counts,
        fees=fees,
        user=request.user,
        session_id=request.session_id or headers.get("x-session-id"),
        request_id=headers.get("x-request-id"),
        referer=headers.get("http-referer"),
        user_agent=headers.get("user-agent"),
        router=next((one for one in request.model_ids if one.startswith("openrouter/")), None),
        attempts=route.attempts,
    )
    call.faults.generation(generation)
    emulator.parses.add(generation.id, parsing)
    return generation


def beginning(call: Call, request: ChatRequest, route: Route, visit: Visit) -> Callable[[], None]:
    """What happens when the answer begins: the cache is written and the conversation pinned to its host."""
    conversation, has_session = conversation_of(request, call.request.headers.get("x-session-id"))

    def begin() -> None:
        call.emulator.prompt_cache.commit(visit)
        if not (request.provider and request.provider.order):
            key = (ACCOUNT, route.host.model.id, conversation)
            call.emulator.sticky.remember(key, route.host, has_session=has_session, cached_tokens=visit.counts.cached)

    return begin


def close_generation(call: Call, generation: Generation, *, left: bool) -> None:
    """Settle an answer that did not come to its end: hosts that cannot abort bill it in full."""
    if generation.counts is None:
        generation.cancelled = left
        stops = generation.streamed and (not left or generation.host.provider.can_abort)
        call.emulator.settle(generation, completion_tokens=generation.written_tokens if stops else None)
    generation.forget_text()


def wants_metadata(call: Call) -> bool:
    headers = call.request.headers
    asked = headers.get("x-openrouter-metadata") or headers.get("x-openrouter-experimental-metadata")
    return asked == "enabled"


def routing_metadata(call: Call, request: ChatRequest, route: Route, generation: Generation) -> dict[str, Any]:
    """`openrouter_metadata`: which hosts there were, which were asked, and what ran beside them at what cost."""
    available = [
        {"provider": host.name, "model": host.model.id, "selected": host is route.host} for host in route.candidates
    ]
    return {
        "requested": (request.model_ids or [call.emulator.settings.default_model])[0],
        "strategy": strategy_of(request, len(route.attempts)),
        "region": "local",
        "summary": f"available={len(available)}",
        "attempt": len(route.attempts),
        "is_byok": False,
        "endpoints": {"total": len(available), "available": available},
        "attempts": [attempt.view() for attempt in route.attempts],
        "params": {},
        "pipeline": list(generation.fees.pipeline),
    }


def _usage(call: Call, generation: Generation) -> dict[str, Any]:
    call.emulator.settle(generation)
    return call.faults.usage(usage_object(generation), generation)


def _stream(
    call: Call, generation: Generation, begin: Callable[[], None], metadata: dict[str, Any] | None
) -> Iterator[Event]:
    settings = call.emulator.settings
    yield from waiting(settings.first_token_delay, settings.comment_interval)
    begin()
    events = stream_events(
        generation,
        per_chunk=settings.tokens_per_chunk,
        usage=lambda: _usage(call, generation),
        metadata=metadata,
    )
    for event in events:
        if isinstance(event, Data):
            yield Data(call.faults.payload(event.payload), event.tokens, event.is_content)
        else:
            yield event


def _whole(
    call: Call, generation: Generation, begin: Callable[[], None], metadata: dict[str, Any] | None
) -> Iterator[Event]:
    """A JSON answer arrives when the last token would have."""
    settings = call.emulator.settings
    written = len(generation.answer.tokens) + len(generation.answer.reasoning)
    yield Pause(
        settings.first_token_delay + (written / settings.tokens_per_second if settings.tokens_per_second else 0)
    )
    begin()
    body = completion_object(generation, lambda: _usage(call, generation))
    if metadata is not None:
        body["openrouter_metadata"] = metadata
    yield Raw(encode(call.faults.body(call.faults.payload(body), generation)))
