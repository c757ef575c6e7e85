"""What the model writes in answer to a request: text, JSON, tool calls, pictures, thinking, annotations."""

import base64
import random
from dataclasses import replace

import msgspec

from openrouter_emulator.answers.citations import cite
from openrouter_emulator.answers.files import Parsing
from openrouter_emulator.answers.json_schema import SchemaWriter
from openrouter_emulator.answers.reasoning import is_shown, think
from openrouter_emulator.answers.text import last_user_text, phrases_for, random_for, write_answer
from openrouter_emulator.answers.tool_calls import write_tool_calls
from openrouter_emulator.answers.web_search import search_web
from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.chat.generation import Answer, Fees
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.http.wire import encode
from openrouter_emulator.images.offer import picture_size, picture_tokens
from openrouter_emulator.images.png import draw_png
from openrouter_emulator.tokens import split_tokens


def compose_answer(request: ChatRequest, host: Host, parsing: Parsing, *, seed: int) -> tuple[Answer, Fees]:
    """The whole answer, cut at the output limit, and the fees of what was looked up for it."""
    chance = random_for(request.messages, seed=seed)
    question = last_user_text(request.messages)
    answer = Answer(
        reasoning=think(request, host.model, phrases_for(question), chance),
        reasoning_shown=is_shown(request),
        tool_calls=write_tool_calls(request, question, chance),
    )
    if answer.tool_calls:
        answer = replace(answer, finish_reason="tool_calls")
    else:
        answer = replace(answer, tokens=tuple(split_tokens(_text(request, host, chance, seed=seed))))
    if request.wants_images and "image" in host.model.output_modalities:
        answer = _with_picture(answer, request, host, question)
    answer, fees = _with_sources(answer, request, question, parsing, host)
    return cut(answer, output_limit(request, host)), fees


def output_limit(request: ChatRequest, host: Host) -> int:
    most = host.model.max_completion_tokens
    return min(request.output_limit or most, most)


def cut(answer: Answer, limit: int) -> Answer:
    """Thinking is written first and counts; pictures do not fall to the limit."""
    room = limit - len(answer.reasoning)
    if len(answer.reasoning) + len(answer.tokens) <= limit:
        return answer
    return replace(
        answer,
        reasoning=answer.reasoning[:limit],
        tokens=answer.tokens[: max(room, 0)],
        finish_reason="length",
    )


def _text(request: ChatRequest, host: Host, chance: random.Random, *, seed: int) -> str:
    """JSON where the host heeds `response_format`; a host that does not writes prose as if nothing was asked."""
    if request.format_type == "json_schema" and "structured_outputs" in host.supported_parameters:
        schema = ((request.response_format or {}).get("json_schema") or {}).get("schema") or {}
        return encode(SchemaWriter(schema, chance).write()).decode()
    text = _stopped(write_answer(request.messages, seed=seed), request.stop)
    if request.format_type == "json_object" and "response_format" in host.supported_parameters:
        return msgspec.json.format(encode({"simulated": True, "answer": text})).decode()
    return text


def _stopped(text: str, stop: str | list[str] | None) -> str:
    """The text before the first stop sequence in it."""
    sequences = [stop] if isinstance(stop, str) else stop or []
    return text[: min((text.index(one) for one in sequences if one and one in text), default=len(text))]


def _with_picture(answer: Answer, request: ChatRequest, host: Host, question: str) -> Answer:
    options = request.image_config or {}
    size = picture_size(options.get("aspect_ratio"), options.get("image_size"))
    picture = base64.b64encode(draw_png(question, *size, prompt=question)).decode()
    caption = split_tokens(f"A simulated picture of {size[0]} by {size[1]} pixels.")
    return replace(
        answer,
        tokens=tuple(caption) if "text" in (request.modalities or ()) else (),
        images=(f"data:image/png;base64,{picture}",),
        image_tokens=picture_tokens(host.model, size, options.get("quality")),
    )


def _with_sources(
    answer: Answer, request: ChatRequest, question: str, parsing: Parsing, host: Host
) -> tuple[Answer, Fees]:
    annotations = parsing.annotations
    fees = Fees(parsing.fee, file_tokens=parsing.native_tokens, pipeline=tuple(parsing.pipeline))
    search = search_web(request, host.model, question)
    if search is None:
        return replace(answer, annotations=annotations or None), fees
    annotations += cite(answer.text, search)
    fees = replace(
        fees,
        total=parsing.fee + search.fee,
        search_cost=search.fee,
        searches=search.searches,
        search_results=search.results,
        search_engine=search.engine,
        found_tokens=search.found_tokens,
    )
    return replace(answer, annotations=annotations or None), fees
