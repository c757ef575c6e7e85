"""The shapes of what a request nests: tools, plugins, content parts, options. Checked, then left as they came."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Ratio = Annotated[str, Meta(pattern=r"^([1-9]\d*(\.\d+)?:[1-9]\d*(\.\d+)?|auto)$")]
_SIDE = r"([1-9]\d{1,2}|[1-3]\d{3}|4096)"
ImageSize = Annotated[str, Meta(pattern=rf"^(0\.5K|512|768|1K|1\.5K|2K|4K|{_SIDE}x{_SIDE})$")]
"""A tier, or pixels of up to 4096 a side."""


class CacheControl(msgspec.Struct):
    type: str | None = None
    ttl: Annotated[str, Meta(pattern="^(5m|1h|30m|12h)$")] | None = None
    mode: str | None = None


class Function(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(msgspec.Struct, tag_field="type", tag="function"):
    function: Function
    cache_control: CacheControl | None = None


class Tool(msgspec.Struct):
    """Any tool; those of type `function` are `FunctionTool`s as well."""

    type: str
    parameters: dict[str, Any] | None = None


Domain = Annotated[str, Meta(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")]


class WebSearch(msgspec.Struct):
    """The parameters of the server tool `openrouter:web_search`."""

    engine: Annotated[str, Meta(pattern="^(auto|native|exa|firecrawl|parallel|perplexity)$")] | None = None
    mode: str | None = None
    max_results: Annotated[int, Meta(ge=1, le=25)] | None = None
    max_total_results: Annotated[int, Meta(ge=1)] | None = None
    max_uses: Annotated[int, Meta(ge=1)] | None = None
    search_context_size: Annotated[str, Meta(pattern="^(low|medium|high)$")] | None = None
    max_characters: Annotated[int, Meta(ge=1)] | None = None
    user_location: dict[str, Any] | None = None
    allowed_domains: list[Domain] | None = None
    excluded_domains: list[Domain] | None = None


class Pdf(msgspec.Struct):
    engine: str | None = None


class Plugin(msgspec.Struct):
    id: str
    enabled: bool = True
    pdf: Pdf | None = None
    max_results: Annotated[int, Meta(ge=1, le=25)] | None = None
    engine: str | None = None
    allowed_models: list[str] | None = None
    excluded_models: list[str] | None = None


class Reasoning(msgspec.Struct):
    effort: Annotated[str, Meta(pattern="^(max|xhigh|high|medium|low|minimal|none)$")] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    exclude: bool | None = None
    enabled: bool | None = None


class JsonSchema(msgspec.Struct):
    schema: dict[str, Any]
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] | None = None


class ResponseFormat(msgspec.Struct):
    type: Annotated[str, Meta(pattern="^(text|json_object|json_schema|grammar|python)$")]
    json_schema: JsonSchema | None = None


class ImageConfig(msgspec.Struct):
    aspect_ratio: Ratio | None = None
    image_size: ImageSize | None = None
    quality: str | None = None


class File(msgspec.Struct):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class Part(msgspec.Struct):
    """A content part; which member counts is a matter of its type."""

    type: str
    text: str | None = None
    image_url: dict[str, Any] | None = None
    file: File | None = None
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheControl | None = None


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct):
    function: CalledFunction
    id: str | None = None


class AnnotatedFile(msgspec.Struct):
    hash: str | None = None


class Annotation(msgspec.Struct):
    type: str
    file: AnnotatedFile | None = None


REQUEST_SHAPES: dict[str, Any] = {
    "tools": list[Tool],
    "plugins": list[Plugin],
    "reasoning": Reasoning,
    "response_format": ResponseFormat,
    "image_config": ImageConfig,
    "cache_control": CacheControl,
    "prompt_cache_options": CacheControl,
}
MESSAGE_SHAPES: dict[str, Any] = {
    "content": str | list[Part],
    "tool_calls": list[ToolCall],
    "annotations": list[Annotation],
}


def check_shapes(record: Any, shapes: dict[str, Any], path: str = "$") -> None:
    """Raise `msgspec.ValidationError` with the path of the first field that has the wrong shape."""
    for name, shape in shapes.items():
        value = getattr(record, name)
        if value is None:
            continue
        try:
            msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(str(error).replace("`$", f"`{path}.{name}", 1)) from None
