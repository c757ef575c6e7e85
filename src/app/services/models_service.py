"""The models people may ask for: what each can do, what it costs, and which plan opens it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.core.config import Settings, get_settings
from app.core.errors import NotFound
from app.domain.features import Feature, has_feature
from app.domain.plans import PLAN_LIMITS, PlanTier
from app.openrouter.models import ModelProfile
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.plan_gates import PlanGates, plan_gates

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesPerMillion:
    """USD for a million tokens, for prompts of ordinary size; ``None`` where the model has no such price."""

    prompt: Decimal | None
    completion: Decimal | None
    cache_read: Decimal | None
    cache_write: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFeatures:
    """What a request may ask of the model beside an answer."""

    tools: bool
    structured_outputs: bool
    reasoning: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedModel:
    """A model as the product offers it. ``replaces`` are the retired ids it answers for."""

    id: str
    name: str
    context_length: int | None
    max_output_tokens: int | None
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    prices: PricesPerMillion
    features: ModelFeatures
    unlocked_by: PlanTier | None
    replaces: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringModel:
    """What answers for an id somebody asked for; ``note`` says so when it is another model."""

    requested: str
    sent_as: str
    note: str | None
    model: OfferedModel


class ModelsService:
    """Use cases of ``/models`` and ``wisqu models``, over the catalogue at hand."""

    def __init__(self, *, settings: Callable[[], Settings], openrouter: OpenRouterService, gates: PlanGates) -> None:
        self._settings = settings
        self._openrouter = openrouter
        self._gates = gates

    async def refresh(self) -> bool:
        """Ask OpenRouter for its list; false when the shipped one has to serve."""
        if self._settings().openrouter_api_key is not None:
            await self._openrouter.refresh_catalog()
        return self._openrouter.listed_models is not None

    def list_models(self, *, query: str = "", output: str | None = None) -> list[OfferedModel]:
        """The models OpenRouter lists, by id, whose id or name holds every word of ``query``.

        ``output`` narrows them to those that make it: ``text``, ``image``, ``audio``.
        """
        catalog, listed = self._openrouter.catalog, self._openrouter.listed_models
        words, retired = query.lower().split(), catalog.retired_ids()
        found = (
            model
            for model in catalog
            if (listed is None or model.id in listed)
            and (output is None or output in model.output_modalities)
            and all(word in f"{model.id} {model.name}".lower() for word in words)
        )
        return [self._offered(model, retired) for model in sorted(found, key=lambda model: model.id)]

    def require(self, model_id: str) -> AnsweringModel:
        """What answers when ``model_id`` is asked for; raises ``NotFound``."""
        catalog = self._openrouter.catalog
        resolved = catalog.resolve(model_id)
        if resolved is None:
            raise NotFound(f"No model {model_id!r}. `wisqu models list --q WORD` finds those there are.")
        offered = self._offered(resolved.profile, catalog.retired_ids())
        return AnsweringModel(requested=model_id, sent_as=resolved.id, note=resolved.note, model=offered)

    async def aclose(self) -> None:
        """Close the connections to OpenRouter."""
        await self._openrouter.aclose()

    def _offered(self, model: ModelProfile, retired: Mapping[str, Sequence[str]]) -> OfferedModel:
        return OfferedModel(
            id=model.id,
            name=model.name,
            context_length=model.context_length,
            max_output_tokens=model.max_output_tokens,
            input_modalities=model.input_modalities,
            output_modalities=model.output_modalities,
            prices=_per_million(model),
            features=ModelFeatures(
                tools=model.knows("tools"),
                structured_outputs=model.knows("structured_outputs"),
                reasoning=model.knows("reasoning"),
            ),
            unlocked_by=self._cheapest_plan(model),
            replaces=tuple(retired.get(model.id, ())),
        )

    def _cheapest_plan(self, model: ModelProfile) -> PlanTier | None:
        needed = []
        if self._gates.is_advanced(model.id):
            needed.append(Feature.ADVANCED_MODELS)
        if "text" not in model.output_modalities:  # of use to image generation alone
            needed.append(Feature.IMAGE_GENERATION)
        return next((plan.plan for plan in PLAN_LIMITS if all(has_feature(plan, each) for each in needed)), None)


def _per_million(model: ModelProfile) -> PricesPerMillion:
    prices = model.prices.base
    return PricesPerMillion(
        prompt=_times_million(prices.prompt),
        completion=_times_million(prices.completion),
        cache_read=_times_million(prices.input_cache_read),
        cache_write=_times_million(prices.input_cache_write),
    )


def _times_million(price: Decimal | None) -> Decimal | None:
    return None if price is None else price * MILLION


models_service = ModelsService(settings=get_settings, openrouter=openrouter_service, gates=plan_gates)
