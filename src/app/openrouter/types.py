"""What is said to OpenRouter, and what is heard: plain values that walk between the floors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Literal

MODELS_ON_THE_WIRE = 3
"""OpenRouter refuses a `models` array with more entries."""

SESSION_ID_LENGTH = 256
"""The longest `session_id` OpenRouter takes, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPreferences:
    """Which hosts may serve a model. OpenRouter refuses unknown keys here, so only its own names stand."""

    order: tuple[str, ...] | None = None
    """Try these hosts first, in this order. Switches OpenRouter's sticky routing off."""
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    """True drops every host that does not know one of the parameters sent."""
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    enforce_distillable_text: bool | None = None
    quantizations: tuple[str, ...] | None = None
    sort: str | Mapping[str, Any] | None = None
    """`price`, `throughput`, `latency`, `exacto`, or `{by, partition}`."""
    preferred_min_throughput: float | Mapping[str, float] | None = None
    """Tokens per second."""
    preferred_max_latency: float | Mapping[str, float] | None = None
    """Seconds."""
    max_price: Mapping[str, Decimal] | None = None
    """A hard filter. `prompt` and `completion` in USD per million tokens."""
    options: Mapping[str, Any] | None = None

    def to_wire(self) -> dict[str, Any]:
        return _without_none(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One chat completion to ask for. Field names are the wire's; what is None is not sent."""

    messages: Sequence[Mapping[str, Any]]
    """Already in OpenRouter's shape."""
    model: str
    max_tokens: int
    """Always sent: without it the pre-flight check prices the model's whole output limit."""
    fallback_models: tuple[str, ...] = ()
    """Tried in order after `model`; only the first two fit on the wire."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    top_a: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    logit_bias: Mapping[str, float] | None = None
    stop: str | Sequence[str] | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, Any] | None = None
    reasoning: Mapping[str, Any] | None = None
    modalities: Sequence[str] | None = None
    """Kinds of output. Image-only models want `("image",)` alone."""
    image_config: Mapping[str, Any] | None = None
    plugins: Sequence[Mapping[str, Any]] | None = None
    provider: ProviderPreferences | None = None
    service_tier: str | None = None
    session_id: str | None = None
    """Groups requests and keys sticky routing."""
    user: str | None = None
    """A stable pseudonym of the end user, never an address or a raw id."""
    metadata: Mapping[str, str] | None = None
    trace: Mapping[str, Any] | None = None
    cache_control: Mapping[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Mapping[str, Any] | None = None
    wants_metadata: bool = False
    """Ask in a header what ran beside the model, and what that cost."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if self.session_id is not None and len(self.session_id) > SESSION_ID_LENGTH:
            raise ValueError(f"session_id must have at most {SESSION_ID_LENGTH} characters")

    @property
    def models(self) -> tuple[str, ...]:
        """The requested model and its fallbacks, each once, in the order they are tried."""
        return tuple(dict.fromkeys((self.model, *self.fallback_models)))

    def to_wire(self, *, stream: bool) -> dict[str, Any]:
        """The JSON body. One model goes as `model`, several as `models` alone, cut to what the wire takes.

        With both keys OpenRouter would put `model` in front of `models` and try it twice.
        """
        body = _without_none(self)
        del body["model"], body["fallback_models"], body["wants_metadata"]
        models = self.models[:MODELS_ON_THE_WIRE]
        body |= {"model": self.model} if len(models) == 1 else {"models": list(models)}
        if self.provider is not None:
            body["provider"] = self.provider.to_wire()
        return body | {"stream": stream}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a completion used. None means that OpenRouter did not say."""

    prompt_tokens: int | None = None
    """All input tokens, cached and written ones among them."""
    completion_tokens: int | None = None
    """All output tokens, reasoning, image and audio ones among them."""
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    """Audio heard and audio spoken together."""
    image_tokens: int | None = None
    """Image tokens of the output."""
    cost: Decimal | None = None
    """USD charged to the account: what counts. Under BYOK it is 0 and the host bills `upstream_inference_cost`."""
    upstream_inference_cost: Decimal | None = None
    is_byok: bool | None = None
    searches: int | None = None
    """How often the web was searched."""
    search_cost: Decimal | None = None
    """USD for that, a part of `cost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function the model wants called. `arguments` is the model's text: meant as JSON, not always JSON."""

    id: str | None
    name: str
    arguments: str

    def to_wire(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer, folded. `model` and `provider` are those that served."""

    generation_id: str | None = None
    model: str | None = None
    provider: str | None = None
    content: str = ""
    reasoning: str = ""
    reasoning_details: tuple[Mapping[str, Any], ...] = ()
    """To be sent back unchanged, in this order."""
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    images: tuple[str, ...] = ()
    """URLs, mostly `data:` ones."""
    annotations: tuple[Mapping[str, Any], ...] = ()
    """Citations and parsed files, in OpenRouter's shape."""
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    usage: Usage | None = None
    parsing_cost: Decimal | None = None
    """USD for reading documents, a part of `usage.cost`; told only where the request wanted metadata."""
    first_token_seconds: float | None = None
    """From sending the request to the first text, reasoning, image or tool call; None when not streamed."""
    total_seconds: float | None = None

    @property
    def is_whole(self) -> bool:
        """A finish reason arrived: the model ended, nobody cut it."""
        return self.finish_reason is not None or self.native_finish_reason is not None

    @property
    def is_empty(self) -> bool:
        """Nothing a person could read or a program could use; reasoning alone does not count."""
        return not (self.content.strip() or self.refusal or self.tool_calls or self.images)


@dataclass(frozen=True, slots=True)
class GenerationStarted:
    """From here on the generation can be asked for by its id. It comes with the headers where they name it, and again
    with the first chunk, which tells model and provider too.
    """

    generation_id: str | None
    model: str | None
    provider: str | None


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More text of the thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More text of a refusal."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageDelta:
    """One whole picture, by its URL."""

    url: str


@dataclass(frozen=True, slots=True)
class AnnotationDelta:
    """One citation or parsed file, in OpenRouter's shape."""

    annotation: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the tool call at `position` in the completion; `arguments` holds only what is new."""

    position: int
    id: str | None
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CompletionFinished:
    """The last event: the whole answer."""

    completion: Completion


Delta = ContentDelta | ReasoningDelta | RefusalDelta | ImageDelta | AnnotationDelta | ToolCallDelta
StreamEvent = GenerationStarted | Delta | CompletionFinished


def _without_none(value: ProviderPreferences | ChatRequest) -> dict[str, Any]:
    values = ((field.name, getattr(value, field.name)) for field in fields(value))
    return {name: each for name, each in values if each is not None}
