"""Which models may draw what is wished, how they are asked, and what that may cost at most."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.config import Settings, get_settings
from app.core.errors import InvalidField, NotFound
from app.domain.image_requests import ImageAbilities, ImageWish, Misfit, fit
from app.domain.presets import names_preset
from app.domain.quotas import ImageAsk
from app.openrouter.drawing import most_picture_tokens
from app.openrouter.images import ImageRequest
from app.openrouter.models import ModelProfile
from app.openrouter.tokens import estimate_prompt_tokens
from app.services.openrouter_service import OpenRouterService, openrouter_service

ALL_MODELS = "*"
"""In IMAGE_GENERATION_MODELS: every model of the catalogue that draws."""
MILLION = Decimal(1_000_000)
REFERENCE_TOKENS = 6_000
"""The most that one picture to draw by counts."""
_IN_CHATS = ImageAbilities(
    choices={
        "aspect_ratio": ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
        "resolution": ("1K", "2K", "4K"),
    },
    takes_seed=True,
    most_references=3,
)
"""What models without descriptors take: they draw in chats only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageModel:
    """A model that draws, as the product offers it. ``replaces`` are the retired ids it answers for.

    ``usd_per_million_tokens`` is the price of the tokens its pictures count; ``None``: unknown.
    """

    id: str
    name: str
    route: str
    aspect_ratios: Sequence[str]
    sizes: Sequence[str]
    qualities: Sequence[str]
    backgrounds: Sequence[str]
    formats: Sequence[str]
    takes_seed: bool
    max_references: int
    usd_per_million_tokens: Decimal | None
    replaces: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """How pictures are asked for: the calls by how many each draws, and the models each call may go to, in order."""

    wish: ImageWish
    model: str
    """As it was named."""
    requests: tuple[ImageRequest, ...]
    counts: tuple[int, ...]
    tokens_each: int
    prompt_tokens: int
    prices: tuple[Decimal, Decimal] | None
    """The most that a token of the prompt and one of a picture may cost, in USD."""
    notes: tuple[str, ...] = ()

    def asks(self) -> list[ImageAsk]:
        """What each call has to hold."""
        return [self._ask(count, len(self.counts) - number) for number, count in enumerate(self.counts)]

    def _ask(self, count: int, shares: int) -> ImageAsk:
        drawn = self.tokens_each * count
        cost = None
        if self.prices is not None:
            cost = self.prompt_tokens * self.prices[0] + drawn * self.prices[1]
        return ImageAsk(images=count, tokens=self.prompt_tokens + drawn, cost_usd=cost, shares=shares)


class ImagePlanner:
    """Reads the catalogue and the settings; asks nobody."""

    def __init__(self, *, settings: Callable[[], Settings], openrouter: OpenRouterService) -> None:
        self._settings = settings
        self._openrouter = openrouter

    def offered(self) -> list[ImageModel]:
        """The models that may be named, the default first."""
        retired = self._openrouter.catalog.retired_ids()
        return [_offered(model, retired.get(model.id, ())) for model in self._allowed()]

    def plan(
        self, user_id: UUID, wish: ImageWish, *, model: str | None, fallback_models: Sequence[str] | None
    ) -> ImagePlan:
        """Choose models and parameters; raises ``InvalidField`` naming the field and what it may hold."""
        named = model or self._default()
        others = [("fallback_models", each) for each in fallback_models or ()]
        able, misfit = self._able(wish, [("model", named), *others])
        if not able:
            raise InvalidField(misfit.field, misfit.message, allowed=list(misfit.allowed))
        requests = tuple(
            ImageRequest(
                model=profile.id,
                prompt=wish.prompt,
                parameters=parameters,
                modalities=() if profile.drawing else profile.image_modalities,
                user=self._openrouter.name_of(user_id),
            )
            for profile, parameters in able
        )
        profiles = [profile for profile, _ in able]
        most = min(each.drawing.most_images if each.drawing else 1 for each in profiles)
        return ImagePlan(
            wish=wish,
            model=named,
            requests=requests,
            counts=tuple(min(most, wish.count - drawn) for drawn in range(0, wish.count, most)),
            tokens_each=max(most_picture_tokens(parameters.get("resolution")) for _, parameters in able),
            prompt_tokens=_prompt_tokens(wish),
            prices=_dearest(profiles),
            notes=self._notes(named, profiles[0]),
        )

    def _able(
        self, wish: ImageWish, named: Sequence[tuple[str, str]]
    ) -> tuple[list[tuple[ModelProfile, Mapping[str, Any]]], Misfit]:
        """The models that can draw this, each once, and why the first of the others cannot."""
        able: dict[str, tuple[ModelProfile, Mapping[str, Any]]] = {}
        misfits: list[Misfit] = []
        for field, name in named:
            for profile in self._require(field, name):
                fitted = fit(wish, abilities_of(profile))
                if isinstance(fitted, Misfit):
                    misfits.append(fitted)
                else:
                    able.setdefault(profile.id, (profile, fitted))
        # Of several that might answer for a name, one that would take other values tells more than one that takes none.
        telling = next((each for each in misfits if each.allowed), misfits[0] if misfits else Misfit("model", ""))
        return list(able.values()), telling

    def _require(self, field: str, name: str) -> list[ModelProfile]:
        if names_preset(name):
            raise NotFound(f"{name!r} names no model that draws: presets answer in conversations.")
        allowed = self._allowed()
        ids = {each.id for each in allowed}
        found = [each for each in self._openrouter.catalog.living(name) if each.id in ids]
        if not found:
            names = ", ".join(each.id for each in allowed)
            raise InvalidField(
                field, f"{name!r} is not among the image models of this server: {names}.", allowed=sorted(ids)
            )
        return found

    def _allowed(self) -> list[ModelProfile]:
        catalog, names = self._openrouter.catalog, self._settings().image_generation_models
        every = [each for each in catalog if ALL_MODELS in names and each.makes_images and not each.is_router]
        named = [each for name in names if name != ALL_MODELS for each in catalog.living(name) if each.makes_images]
        return list({each.id: each for each in (*named, *every)}.values())

    def _default(self) -> str:
        allowed = self._allowed()
        named = next((each for each in self._settings().image_generation_models if each != ALL_MODELS), None)
        if not allowed:
            raise InvalidField("model", "IMAGE_GENERATION_MODELS of this server names no model that draws.")
        return named or allowed[0].id

    def _notes(self, named: str, first: ModelProfile) -> tuple[str, ...]:
        resolved = self._openrouter.catalog.resolve(named)
        if resolved is None or not resolved.is_replaced:
            return ()
        return (f"{named!r} is no longer offered; {first.id!r} draws in its place.",)


def abilities_of(profile: ModelProfile) -> ImageAbilities:
    """What a model takes, by its descriptors."""
    drawing = profile.drawing
    if drawing is None:
        return _IN_CHATS
    return ImageAbilities(
        choices=drawing.choices, takes_seed=drawing.takes_seed, most_references=drawing.most_references
    )


def _offered(profile: ModelProfile, replaces: Sequence[str]) -> ImageModel:
    abilities, price = abilities_of(profile), _picture_price(profile)
    return ImageModel(
        id=profile.id,
        name=profile.name,
        route="images" if profile.drawing else "chat",
        aspect_ratios=abilities.choices.get("aspect_ratio", ()),
        sizes=abilities.choices.get("resolution", ()),
        qualities=abilities.choices.get("quality", ()),
        backgrounds=abilities.choices.get("background", ()),
        formats=abilities.choices.get("output_format", ()),
        takes_seed=abilities.takes_seed,
        max_references=abilities.most_references,
        usd_per_million_tokens=None if price is None else price * MILLION,
        replaces=replaces,
    )


def _prompt_tokens(wish: ImageWish) -> int:
    return estimate_prompt_tokens([{"role": "user", "content": wish.prompt}]) + wish.references * REFERENCE_TOKENS


def _picture_price(profile: ModelProfile) -> Decimal | None:
    """USD for a token of a picture. Nothing is free: a price of 0 is one that nobody has told."""
    prices = profile.prices.base
    price = prices.completion if prices.image_output is None else prices.image_output
    return price or None


def _dearest(profiles: Iterable[ModelProfile]) -> tuple[Decimal, Decimal] | None:
    dearest_prompt = dearest_picture = Decimal(0)
    for profile in profiles:
        prompt, picture = profile.prices.base.prompt, _picture_price(profile)
        if prompt is None or picture is None:
            return None
        dearest_prompt = max(dearest_prompt, prompt, profile.prices.base.image_token or Decimal(0))
        dearest_picture = max(dearest_picture, picture)
    return dearest_prompt, dearest_picture


image_planner = ImagePlanner(settings=get_settings, openrouter=openrouter_service)
