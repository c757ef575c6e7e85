"""An answer that never began, though its documents had been parsed by then."""

from openrouter_emulator.answers.files import read_files
from openrouter_emulator.call import Call
from openrouter_emulator.chat.generation import Answer, Fees, Generation
from openrouter_emulator.chat.prompt import count_prompt_tokens
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.http.errors import ApiError


def bill_parsing(call: Call, request: ChatRequest, error: ApiError) -> None:
    """Charge for what was parsed before the hosts failed, and hand it out with the error, to be sent back."""
    emulator = call.emulator
    model = emulator.catalogue.get(error.asked_model) if error.asked_model else None
    if model is None:
        return
    parsing = read_files(request, model)
    if not parsing.fresh:
        return
    error.metadata = {**(error.metadata or {}), "file_annotations": list(parsing.annotations)}
    generation = Generation(
        id=emulator.new_generation_id(),
        created_at=emulator.clock.now(),
        host=emulator.hosts.of(model)[0],
        prompt_tokens=count_prompt_tokens(request),
        answer=Answer(finish_reason="error"),
        streamed=request.streams,
        fees=Fees(parsing.fee, pipeline=tuple(parsing.pipeline)),
        user=request.user,
        session_id=request.session_id or call.request.headers.get("x-session-id"),
        request_id=call.request.headers.get("x-request-id"),
        failed=True,
    )
    call.exchange.generation_id = generation.id
    error.headers = {**error.headers, "X-Generation-Id": generation.id}
    emulator.settle(generation, completion_tokens=0)
    emulator.parses.add(generation.id, parsing)
