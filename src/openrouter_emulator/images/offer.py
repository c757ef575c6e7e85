"""What each image model can be asked for, and what a picture counts and measures; from `data/image_endpoints.json`."""

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from openrouter_emulator.catalogue.models import DATA, Model

TOKENS_PER_PICTURE = 4_175
TOKENS_PER_MEGAPIXEL = 4_096
GEMINI_TOKENS = 1_290
QUALITY_TOKENS = {"low": 272, "medium": 1_056, "high": 4_160}
SIDES = {"512": 512, "0.5K": 512, "768": 768, "1K": 1_024, "1.5K": 1_536, "2K": 2_048, "4K": 4_096}
GEMINI_SIZES = {
    "16:9": (1344, 768),
    "9:16": (768, 1344),
    "4:3": (1184, 864),
    "3:4": (864, 1184),
    "3:2": (1248, 832),
    "2:3": (832, 1248),
    "5:4": (1152, 896),
    "4:5": (896, 1152),
    "21:9": (1536, 672),
}
_PIXELS = re.compile(r"(\d{2,5})x(\d{2,5})")


@dataclass(frozen=True, slots=True)
class ImageOffer:
    """One model's image endpoint; `parameters` as listed, with None for what it does not take."""

    provider: str
    parameters: dict[str, Any]
    price_units: tuple[dict[str, str], ...]

    @property
    def output_unit(self) -> str:
        """What one picture is priced by: `/megapixel`, `/image` or `/M tokens`."""
        return next((row["unit"] for row in self.price_units if row["label"] == "Image Output"), "/M tokens")

    @property
    def max_images(self) -> int:
        return int((self.parameters.get("n") or {"max": 1})["max"])


@cache
def image_offers() -> dict[str, ImageOffer]:
    rows = json.loads((DATA / "image_endpoints.json").read_text())
    return {
        model_id: ImageOffer(row["provider"], row["supported_image_parameters"], tuple(row["price_units"]))
        for model_id, row in rows.items()
    }


def picture_size(aspect_ratio: str | None, tier: str | None) -> tuple[int, int]:
    """Width and height in pixels; `tier` is a resolution such as `2K`, or pixels such as `1024x768`."""
    if tier and (pixels := _PIXELS.fullmatch(tier)):
        return int(pixels[1]), int(pixels[2])
    side = SIDES.get(tier or "1K", 1_024)
    ratio = aspect_ratio if aspect_ratio and aspect_ratio != "auto" else "1:1"
    if ratio in GEMINI_SIZES:
        width, height = GEMINI_SIZES[ratio]
        return width * side // 1_024, height * side // 1_024
    across, down = (float(part) for part in ratio.split(":"))
    scale = (across * down) ** 0.5
    return round(side * across / scale), round(side * down / scale)


def picture_tokens(model: Model, size: tuple[int, int], quality: str | None) -> int:
    """Completion tokens one picture is billed as."""
    offer = image_offers().get(model.id)
    unit = offer.output_unit if offer else "/image"
    if unit == "/megapixel":
        return round(TOKENS_PER_MEGAPIXEL * size[0] * size[1] / 1_048_576)
    if unit == "/image":
        return TOKENS_PER_PICTURE
    return (
        GEMINI_TOKENS if model.author == "google" else QUALITY_TOKENS.get(quality or "medium", QUALITY_TOKENS["medium"])
    )
