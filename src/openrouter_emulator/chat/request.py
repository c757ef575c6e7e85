"""The body of `POST /chat/completions`: its shape, its bounds, and the refusals it earns."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from openrouter_emulator.chat.parts import MESSAGE_SHAPES, REQUEST_SHAPES, FunctionTool, WebSearch, check_shapes
from openrouter_emulator.http.errors import ApiError

Price = Annotated[str, Meta(pattern=r"^\d+(\.\d+)?$")]
MAX_MODELS = 3
MAX_STOPS = 4
MAX_METADATA = 16


class Message(msgspec.Struct):
    """One turn; `content` is text or a list of parts."""

    role: Annotated[str, Meta(pattern="^(system|developer|user|assistant|tool)$")]
    content: str | list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The content as parts, whichever way it was written."""
        if isinstance(self.content, str):
            return [{"type": "text", "text": self.content}]
        return self.content or []

    @property
    def annotated_files(self) -> list[dict[str, Any]]:
        """What was parsed before and comes back with an answer."""
        return [one.get("file") or {} for one in self.annotations or () if one.get("type") == "file"]

    @property
    def text(self) -> str:
        return "\n".join(str(part.get("text", "")) for part in self.parts if part.get("type") == "text")


class Sort(msgspec.Struct):
    """`partition: none` sorts the hosts of all models together."""

    by: str
    partition: Annotated[str, Meta(pattern="^(model|none)$")] | None = None


class ProviderPreferences(msgspec.Struct, forbid_unknown_fields=True):
    """Which hosts may serve, and in which order; the one strict object of the body."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Annotated[str, Meta(pattern="^(allow|deny)$")] | None = None
    zdr: bool | None = None
    enforce_distillable_text: bool | None = None
    quantizations: list[str] | None = None
    sort: str | Sort | None = None
    preferred_min_throughput: float | dict[str, float] | None = None
    preferred_max_latency: float | dict[str, float] | None = None
    max_price: dict[str, Price | float | int] | None = None
    options: dict[str, Any] | None = None


class ChatRequest(msgspec.Struct):
    """The fields the emulator acts on or checks; others are accepted unread, as the real service does."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: str | None = None
    models: list[str] | None = None
    stream: bool | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    session_id: Annotated[str, Meta(max_length=256)] | None = None
    metadata: dict[str, Annotated[str, Meta(max_length=512)]] | None = None
    trace: dict[str, Any] | None = None
    provider: ProviderPreferences | None = None
    plugins: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    include_reasoning: bool | None = None
    modalities: list[str] | None = None
    image_config: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None

    @property
    def streams(self) -> bool:
        return bool(self.stream)

    @property
    def output_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def function_names(self) -> list[str]:
        """The caller's own tools; server tools are not among them."""
        functions = (tool.get("function") or {} for tool in self.tools or () if tool.get("type") == "function")
        return [str(function.get("name")) for function in functions]

    @property
    def server_tools(self) -> list[str]:
        """Tools that OpenRouter runs itself, by type."""
        return [str(tool.get("type")) for tool in self.tools or () if str(tool.get("type")).startswith("openrouter:")]

    @property
    def format_type(self) -> str:
        """`text`, `json_object`, `json_schema`, ..."""
        return str((self.response_format or {}).get("type", "text"))

    @property
    def wants_images(self) -> bool:
        return "image" in (self.modalities or ())

    @property
    def model_ids(self) -> list[str]:
        """In the order they are tried: `model` goes before `models`; no id twice."""
        listed = ([self.model] if self.model else []) + (self.models or [])
        return list(dict.fromkeys(listed))


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_chat_request(body: bytes) -> ChatRequest:
    """A checked body, or the 400 it deserves."""
    try:
        request = _decoder.decode(body)
        _check_parts(request)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"Input validation failed: {error}") from None
    except msgspec.DecodeError as error:
        raise ApiError(400, f"Invalid JSON in request body: {error}") from None
    _check_bounds(request)
    return request


def _check_parts(request: ChatRequest) -> None:
    check_shapes(request, REQUEST_SHAPES)
    for index, message in enumerate(request.messages):
        check_shapes(message, MESSAGE_SHAPES, f"$.messages[{index}]")
    for tool in request.tools or ():
        if tool["type"] == "function":
            msgspec.convert(tool, FunctionTool)
        if tool["type"] == "openrouter:web_search":
            _check_search(msgspec.convert(tool.get("parameters") or {}, WebSearch))


def _check_search(search: WebSearch) -> None:
    if search.allowed_domains and search.excluded_domains:
        raise ApiError(400, "'allowed_domains' cannot be used with 'excluded_domains'.")


def _check_bounds(request: ChatRequest) -> None:
    if request.models is not None and len(request.models) > MAX_MODELS:
        raise ApiError(400, f"'models' array must have {MAX_MODELS} items or fewer.")
    if request.server_tools and len(request.model_ids) > 1:
        raise ApiError(400, "Server tool request failed")
    if isinstance(request.stop, list) and len(request.stop) > MAX_STOPS:
        raise ApiError(400, f"'stop' must have {MAX_STOPS} items or fewer.")
    metadata = request.metadata or {}
    if len(metadata) > MAX_METADATA or any(len(key) > 64 for key in metadata):
        raise ApiError(400, f"'metadata' holds at most {MAX_METADATA} pairs with keys of up to 64 characters.")
    effort = (request.reasoning or {}).get("effort")
    if effort and request.reasoning_effort and effort != request.reasoning_effort:
        raise ApiError(400, "'reasoning_effort' contradicts 'reasoning.effort'.")
