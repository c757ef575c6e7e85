"""What an image model can be asked for, by its descriptors, and what its pictures count at most."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from app.openrouter.reading import as_count, as_map, as_maps, as_text, as_texts

CHOICES = ("aspect_ratio", "resolution", "quality", "background", "output_format")
"""Parameters with a list of values."""
_SIDES = {"512": 512, "0.5K": 512, "768": 768, "1K": 1_024, "1.5K": 1_536, "2K": 2_048, "4K": 4_096}
_TOKENS_PER_MEGAPIXEL = 4_096
_LEAST_RESERVED = 8_192
"""Twice what a picture of the usual size counts: nobody tells before what quality `auto` means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingProfile:
    """What a model takes on the route that is made for pictures. A parameter without values is not taken."""

    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    most_images: int = 1
    """In one call."""
    most_references: int = 0
    takes_seed: bool = False
    streams: bool = False


def read_drawing(row: Mapping[str, Any]) -> DrawingProfile:
    """The descriptors of a row of `GET /images/models`; an unknown kind of descriptor counts as not supported."""
    descriptors = as_map(row.get("supported_parameters"))
    choices = {name: values for name in CHOICES if (values := as_texts(as_map(descriptors.get(name)).get("values")))}
    return DrawingProfile(
        choices=choices,
        most_images=max(1, as_count(as_map(descriptors.get("n")).get("max")) or 1),
        most_references=as_count(as_map(descriptors.get("input_references")).get("max")) or 0,
        takes_seed=bool(as_map(descriptors.get("seed"))),
        streams=row.get("supports_streaming") is True,
    )


def read_drawings(data: Any) -> dict[str, DrawingProfile]:
    """The rows of a `GET /images/models` answer, by model."""
    return {id_: read_drawing(row) for row in as_maps(data) if (id_ := as_text(row.get("id"))) is not None}


@cache
def shipped_drawings() -> Mapping[str, DrawingProfile]:
    """The descriptors known when this version was made."""
    shipped = msgspec.json.decode(files("app.openrouter").joinpath("data/image_models.json").read_bytes())
    return read_drawings(shipped["data"])


def most_picture_tokens(resolution: str | None) -> int:
    """The most completion tokens that one picture of a resolution such as `2K` counts, whatever the model."""
    side = _SIDES.get(resolution or "1K", 4_096)
    return max(_LEAST_RESERVED, _TOKENS_PER_MEGAPIXEL * side * side // 1_000_000)
