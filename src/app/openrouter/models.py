"""What is known of one model: a row of the catalogue."""

from dataclasses import dataclass, field
from typing import Any

from app.openrouter.drawing import DrawingProfile
from app.openrouter.pricing import PriceList, read_prices
from app.openrouter.reading import as_count, as_flag, as_map, as_text, as_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningProfile:
    """How a model thinks, where it does."""

    mandatory: bool = False
    default_enabled: bool | None = None
    default_effort: str | None = None
    supported_efforts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """One model. `supported_parameters` is the union over its hosts: a single host may lack one."""

    id: str
    canonical_slug: str
    """Often dated; answers may name the model by it."""
    name: str
    created: int | None = None
    """Unix seconds."""
    context_length: int | None = None
    """Tokens of prompt and answer together."""
    max_output_tokens: int | None = None
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    prices: PriceList = field(default_factory=PriceList)
    supported_parameters: frozenset[str] = frozenset()
    is_moderated: bool = False
    reasoning: ReasoningProfile | None = None
    alias_target: str | None = None
    """For a `~...-latest` id: the model behind it when the catalogue was written."""
    drawing: DrawingProfile | None = None
    """For models on the route made for pictures; others that draw do so in chats."""

    @property
    def vendor(self) -> str:
        return self.id.removeprefix("~").partition("/")[0]

    @property
    def is_router(self) -> bool:
        return self.vendor == "openrouter"

    @property
    def is_free(self) -> bool:
        return self.prices.base.prompt == 0 and self.prices.base.completion == 0

    @property
    def makes_images(self) -> bool:
        return "image" in self.output_modalities

    @property
    def image_modalities(self) -> tuple[str, ...]:
        """What to ask for to get a picture: image-only models refuse a request that also wants text."""
        return tuple(kind for kind in ("image", "text") if kind in self.output_modalities)

    def reads(self, modality: str) -> bool:
        return modality in self.input_modalities

    def knows(self, parameter: str) -> bool:
        return parameter in self.supported_parameters


def read_model(row: Any) -> ModelProfile | None:
    """A row of `GET /models`; None when it has no id."""
    model, architecture = as_map(row), as_map(as_map(row).get("architecture"))
    provider = as_map(model.get("top_provider"))
    id_ = as_text(model.get("id"))
    if id_ is None:
        return None
    return ModelProfile(
        id=id_,
        canonical_slug=as_text(model.get("canonical_slug")) or id_,
        name=as_text(model.get("name")) or id_,
        created=as_count(model.get("created")) or None,
        context_length=as_count(model.get("context_length")) or as_count(provider.get("context_length")),
        max_output_tokens=as_count(provider.get("max_completion_tokens")),
        input_modalities=as_texts(architecture.get("input_modalities")) or ("text",),
        output_modalities=as_texts(architecture.get("output_modalities")) or ("text",),
        prices=read_prices(model.get("pricing")),
        supported_parameters=frozenset(as_texts(model.get("supported_parameters"))),
        is_moderated=provider.get("is_moderated") is True,
        reasoning=_read_reasoning(model.get("reasoning")),
        alias_target=as_text(as_map(model.get("alias_target")).get("slug")),
    )


def _read_reasoning(value: Any) -> ReasoningProfile | None:
    reasoning = as_map(value)
    if not reasoning:
        return None
    return ReasoningProfile(
        mandatory=reasoning.get("mandatory") is True,
        default_enabled=as_flag(reasoning.get("default_enabled")),
        default_effort=as_text(reasoning.get("default_effort")),
        supported_efforts=as_texts(reasoning.get("supported_efforts")),
    )
