"""What a request needs from a host."""

from dataclasses import dataclass

from openrouter_emulator.answers.files import named_engine
from openrouter_emulator.chat.request import ChatRequest

PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
    "stop": "stop",
    "top_logprobs": "top_logprobs",
    "reasoning": "reasoning",
    "tools": "tools",
    "tool_choice": "tool_choice",
}
"""Request fields and the name under which a host lists its support for them."""
PART_MODALITIES = {"image_url": "image", "input_audio": "audio", "video_url": "video"}


@dataclass(frozen=True, slots=True)
class Requirements:
    """Everything a host is judged by, apart from the caller's preferences."""

    prompt_tokens: int
    output_limit: int | None
    parameters: frozenset[str]
    input_modalities: frozenset[str]
    output_modalities: tuple[str, ...]
    tool_names: tuple[str, ...]


def read_requirements(request: ChatRequest, *, prompt_tokens: int) -> Requirements:
    kinds = [part.get("type") for message in request.messages for part in message.parts]
    inputs = {PART_MODALITIES[str(kind)] for kind in kinds if kind in PART_MODALITIES}
    if "file" in kinds and named_engine(request) == "native":
        inputs.add("file")
    return Requirements(
        prompt_tokens=prompt_tokens,
        output_limit=request.output_limit,
        parameters=frozenset(_parameters(request)),
        input_modalities=frozenset(inputs),
        output_modalities=tuple(request.modalities or ()),
        tool_names=(*request.function_names, *request.server_tools),
    )


def _parameters(request: ChatRequest) -> set[str]:
    """The model calls server tools as it calls functions, so it must be able to."""
    names = {listed for field, listed in PARAMETERS.items() if getattr(request, field) is not None}
    if not (request.function_names or request.server_tools):
        names -= {"tools", "tool_choice"}
    if request.output_limit is not None:
        names.add("max_tokens")
    names.update(
        {"json_schema": ["structured_outputs"], "json_object": ["response_format"]}.get(request.format_type, [])
    )
    return names
