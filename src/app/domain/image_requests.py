"""What is asked of an image model, held against what it takes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PIXELS = re.compile(r"(\d{2,5})x(\d{2,5})")
_TIERS = {"512": 512, "0.5K": 512, "768": 768, "1K": 1_024, "1.5K": 1_536, "2K": 2_048, "4K": 4_096}
_NEAR = 0.05
"""How far, in parts of it, a ratio of pixels may be from the ratio that is asked of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWish:
    """Pictures somebody wants. ``size`` is a resolution such as ``2K``, or pixels such as ``1024x768``.

    ``None`` leaves it to the model.
    """

    prompt: str
    count: int = 1
    aspect_ratio: str | None = None
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    image_format: str | None = None
    seed: int | None = None
    references: int = 0
    """How many pictures go along to be drawn by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAbilities:
    """What a model takes, by the wire's names; a parameter without values is not taken."""

    choices: Mapping[str, Sequence[str]]
    takes_seed: bool
    most_references: int


@dataclass(frozen=True, slots=True)
class Misfit:
    """A field that the model does not take as it was sent, and why, with the values that it does take."""

    field: str
    message: str
    allowed: tuple[str, ...] = ()


def fit(wish: ImageWish, abilities: ImageAbilities) -> Mapping[str, Any] | Misfit:
    """The parameters to send by the wire's names, or the first field that does not fit."""
    found: dict[str, Any] = {}
    steps = (
        _fit_choice("aspect_ratio", "aspect_ratio", wish.aspect_ratio, abilities),
        _fit_size(wish, abilities),
        _fit_choice("quality", "quality", wish.quality, abilities),
        _fit_choice("background", "background", wish.background, abilities),
        _fit_choice("image_format", "output_format", wish.image_format, abilities),
        _fit_seed(wish, abilities),
        _fit_references(wish, abilities),
    )
    for step in steps:
        if isinstance(step, Misfit):
            return step
        found |= step
    return found


def is_ratio(text: str) -> bool:
    """Whether a text is a ratio of two positive numbers such as ``16:9``."""
    across, colon, down = text.partition(":")
    return bool(colon) and _number(across) > 0 and _number(down) > 0


def _fit_choice(field: str, name: str, value: str | None, abilities: ImageAbilities) -> dict[str, Any] | Misfit:
    if value is None:
        return {}
    allowed = abilities.choices.get(name, ())
    if value in allowed:
        return {name: value}
    return _misfit(field, value, allowed)


def _fit_size(wish: ImageWish, abilities: ImageAbilities) -> dict[str, Any] | Misfit:
    if wish.size is None:
        return {}
    pixels = _PIXELS.fullmatch(wish.size)
    tiers = abilities.choices.get("resolution", ())
    if pixels is None:
        return {"resolution": wish.size} if wish.size in tiers else _misfit("size", wish.size, tiers)
    if wish.aspect_ratio is not None:
        return Misfit("size", "Pixels are a ratio already: leave out `aspect_ratio`, or `size`.")
    width, height = int(pixels[1]), int(pixels[2])
    ratio = _nearest_ratio(width / height, abilities.choices.get("aspect_ratio", ()))
    if ratio is None:
        return _misfit("size", wish.size, abilities.choices.get("aspect_ratio", ()), what="aspect ratios")
    found = {"aspect_ratio": ratio}
    if tiers:
        found["resolution"] = min(tiers, key=lambda tier: abs(_TIERS.get(tier, 0) ** 2 - width * height))
    return found


def _fit_seed(wish: ImageWish, abilities: ImageAbilities) -> dict[str, Any] | Misfit:
    if wish.seed is None:
        return {}
    return {"seed": wish.seed} if abilities.takes_seed else Misfit("seed", "This model takes no seed; leave it out.")


def _fit_references(wish: ImageWish, abilities: ImageAbilities) -> dict[str, Any] | Misfit:
    if wish.references <= abilities.most_references:
        return {}
    return Misfit("model", "This model cannot draw by another picture.")


def _nearest_ratio(wanted: float, ratios: Sequence[str]) -> str | None:
    numbers = {
        ratio: _number(ratio.partition(":")[0]) / _number(ratio.partition(":")[2])
        for ratio in ratios
        if is_ratio(ratio)
    }
    nearest = min(numbers, key=lambda ratio: abs(numbers[ratio] - wanted), default=None)
    return nearest if nearest is not None and abs(numbers[nearest] - wanted) <= _NEAR * wanted else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _misfit(field: str, value: str, allowed: Sequence[str], *, what: str = "values") -> Misfit:
    if not allowed:
        return Misfit(field, "This model does not let it be chosen; leave it out.")
    return Misfit(field, f"{value!r} is not among the {what} of this model: {', '.join(allowed)}.", tuple(allowed))
