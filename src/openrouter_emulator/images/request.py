"""The body of `POST /images`, checked against what the model takes."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from openrouter_emulator.chat.parts import ImageSize, Ratio
from openrouter_emulator.chat.request import ProviderPreferences
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.images.offer import ImageOffer, picture_size


class ImageRequest(msgspec.Struct):
    """`size` is a tier such as `2K`, or pixels such as `1024x768`."""

    model: str
    prompt: Annotated[str, Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    resolution: Annotated[str, Meta(pattern="^(512|768|1K|1.5K|2K|4K)$")] | None = None
    aspect_ratio: Ratio | None = None
    size: ImageSize | None = None
    quality: Annotated[str, Meta(pattern="^(auto|low|medium|high|xhigh|max)$")] | None = None
    output_format: Annotated[str, Meta(pattern="^(png|jpeg|webp|svg)$")] | None = None
    background: Annotated[str, Meta(pattern="^(auto|transparent|opaque)$")] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    seed: int | None = None
    stream: bool | None = None
    input_references: list[dict[str, Any]] | None = None
    provider: ProviderPreferences | None = None
    user: str | None = None
    session_id: Annotated[str, Meta(max_length=256)] | None = None

    @property
    def count(self) -> int:
        return self.n or 1

    @property
    def pixels(self) -> tuple[int, int]:
        return picture_size(self.aspect_ratio, self.size or self.resolution)


def parse_image_request(body: bytes) -> ImageRequest:
    try:
        request = msgspec.json.decode(body, type=ImageRequest)
    except msgspec.DecodeError as error:
        raise ApiError(400, f"Input validation failed: {error}") from None
    if request.size and "x" in request.size and (request.resolution or request.aspect_ratio):
        raise ApiError(400, "An explicit pixel 'size' cannot be combined with 'resolution' or 'aspect_ratio'.")
    return request


def check_against(request: ImageRequest, offer: ImageOffer) -> None:
    """400 for a value the model does not list."""
    if request.count > offer.max_images:
        raise ApiError(400, f"'n' must be at most {offer.max_images} for {request.model}.")
    references = (offer.parameters.get("input_references") or {"max": 0})["max"]
    if len(request.input_references or ()) > references:
        raise ApiError(400, f"'input_references' holds at most {references} images for {request.model}.")
    fields = {
        "aspect_ratio": "aspect_ratios",
        "resolution": "resolutions",
        "background": "backgrounds",
        "output_format": "output_formats",
    }
    for field, listed in fields.items():
        value, allowed = getattr(request, field), offer.parameters.get(listed)
        if value is not None and allowed is not None and value not in allowed:
            raise ApiError(400, f"'{field}' must be one of {', '.join(allowed)} for {request.model}.")
