"""What is asked of an image model, held against what it takes."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.image_requests import ImageAbilities, ImageWish, Misfit, fit, is_ratio

ABLE = ImageAbilities(
    choices={"aspect_ratio": ("1:1", "16:9", "9:16", "auto"), "resolution": ("1K", "2K", "4K"), "quality": ("low",)},
    takes_seed=True,
    most_references=1,
)
WISH = ImageWish(prompt="a mosque")


@pytest.mark.parametrize(
    ("wish", "sent"),
    [
        ({}, {}),
        ({"aspect_ratio": "16:9", "size": "2K"}, {"aspect_ratio": "16:9", "resolution": "2K"}),
        ({"size": "1344x768"}, {"aspect_ratio": "16:9", "resolution": "1K"}),
        ({"size": "4096x4096"}, {"aspect_ratio": "1:1", "resolution": "4K"}),
        ({"aspect_ratio": "auto", "quality": "low", "seed": 0}, {"aspect_ratio": "auto", "quality": "low", "seed": 0}),
        ({"references": 1}, {}),
    ],
)
def test_what_fits_is_sent_in_the_words_of_the_wire(wish: dict[str, Any], sent: dict[str, Any]) -> None:
    assert fit(replace(WISH, **wish), ABLE) == sent


@pytest.mark.parametrize(
    ("wish", "field", "allowed"),
    [
        ({"aspect_ratio": "4:3"}, "aspect_ratio", ("1:1", "16:9", "9:16", "auto")),
        ({"size": "8K"}, "size", ("1K", "2K", "4K")),
        ({"size": "1000x400"}, "size", ("1:1", "16:9", "9:16", "auto")),
        ({"size": "1024x1024", "aspect_ratio": "1:1"}, "size", ()),
        ({"background": "opaque"}, "background", ()),
        ({"image_format": "png"}, "image_format", ()),
        ({"references": 2}, "model", ()),
    ],
)
def test_what_does_not_is_named_with_what_would(wish: dict[str, Any], field: str, allowed: tuple[str, ...]) -> None:
    misfit = fit(replace(WISH, **wish), ABLE)

    assert isinstance(misfit, Misfit)
    assert (misfit.field, misfit.allowed) == (field, allowed)
    assert all(each in misfit.message for each in allowed)


def test_a_seed_is_refused_where_none_is_taken() -> None:
    misfit = fit(replace(WISH, seed=1), replace(ABLE, takes_seed=False))
    assert isinstance(misfit, Misfit)
    assert misfit.field == "seed"


@pytest.mark.parametrize(
    ("text", "is_one"), [("16:9", True), ("2.35:1", True), ("16", False), ("0:1", False), ("a:b", False)]
)
def test_a_ratio_is_two_positive_numbers(text: str, is_one: bool) -> None:
    assert is_ratio(text) is is_one
