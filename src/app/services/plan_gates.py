"""Asked once, when a turn opens: does the plan have this, which models may it use, how long may the prompt be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.core.config import Settings, get_settings
from app.core.errors import AppError, InvalidField, ServiceUnavailable
from app.domain.features import Feature, cheapest_plan_with, has_feature, is_advanced
from app.domain.plans import PLAN_LIMITS, PlanLimits
from app.openrouter.routing import Needs, able_models
from app.services.openrouter_service import OpenRouterService, openrouter_service

MILLION = Decimal(1_000_000)
MOST_SUGGESTIONS = 5
KIND_FEATURES: Mapping[str, tuple[Feature, str]] = {
    "pdf": (Feature.PDF_PROCESSING, "Sending PDFs"),
    "audio": (Feature.AUDIO_PROCESSING, "Sending audio"),
}
"""By kind of file, what a plan needs for it; pictures are for everybody."""


class FeatureNotAvailable(AppError):
    """The plan lacks it, or it was closed by agreement; ``available_in`` names the cheapest plan that would help."""

    status_code = 403
    code = "feature_not_available"

    def __init__(self, feature: Feature, limits: PlanLimits, *, what: str) -> None:
        is_sold = any(has_feature(each, feature) for each in PLAN_LIMITS if each.plan is limits.plan)
        plan = None if is_sold else cheapest_plan_with(feature, PLAN_LIMITS)
        where = f"It is part of the {plan.value.title()} plan." if plan else "No plan has it."
        lacking = f"{what} is not part of the {limits.plan.value.title()} plan. {where}"
        super().__init__(
            f"{what} is closed to this account by agreement." if is_sold else lacking,
            feature=feature.value,
            plan=limits.plan.value,
            available_in=plan.value if plan else None,
        )


class ModelLacksInput(InvalidField):
    """A model somebody named cannot take what they send; ``models`` are some of those they may use and that can."""

    code = "model_lacks_input"

    def __init__(self, model: str, lacking: str, models: Sequence[str]) -> None:
        which = f"These can: {', '.join(models)}." if models else "No model you may use can."
        super().__init__("model", f"{model!r} cannot {lacking}. {which}", models=list(models))


class FeatureDisabled(ServiceUnavailable):
    """The operator has switched it off for everybody, whatever the plans say. What it made before can still be read."""

    code = "feature_disabled"

    def __init__(self, feature: str, *, what: str) -> None:
        super().__init__(f"{what} is switched off on this server.", feature=str(feature))


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The models a turn may use; ``None`` means the settings' defaults. ``notes`` tell what was put in their place."""

    model: str | None
    fallback_models: Sequence[str] | None
    notes: tuple[str, ...] = ()


def is_switched_on(feature: Feature, settings: Settings) -> bool:
    """Whether this server offers the feature at all, whatever the plans say."""
    switches = {
        Feature.WEB_SEARCH: settings.web_search_enabled,
        Feature.IMAGE_GENERATION: settings.image_generation_enabled,
        Feature.PDF_PROCESSING: settings.pdf_processing_enabled,
        Feature.AUDIO_PROCESSING: settings.audio_processing_enabled,
        Feature.PROMPT_CACHING: settings.prompt_caching_enabled,
    }
    return switches.get(feature, True)


class PlanGates:
    """Every rule that depends on the plan's features, in one place."""

    def __init__(self, *, settings: Callable[[], Settings], openrouter: OpenRouterService) -> None:
        self._settings = settings
        self._openrouter = openrouter

    def require(self, feature: Feature, limits: PlanLimits, *, what: str) -> None:
        """Raise :class:`FeatureDisabled` if the server lacks it, :class:`FeatureNotAvailable` if the plan does."""
        if not is_switched_on(feature, self._settings()):
            raise FeatureDisabled(feature, what=what)
        if not has_feature(limits, feature):
            raise FeatureNotAvailable(feature, limits, what=what)

    def require_structured_outputs(self) -> None:
        """Raise :class:`FeatureDisabled` if this server gives no answers by a schema; every plan has them."""
        if not self._settings().structured_outputs_enabled:
            raise FeatureDisabled("structured_outputs", what="Answering by a schema")

    def closed_kinds(self, limits: PlanLimits) -> frozenset[str]:
        """The kinds of files that server or plan do not have."""
        settings = self._settings()
        return frozenset(
            kind
            for kind, (feature, _) in KIND_FEATURES.items()
            if not (is_switched_on(feature, settings) and has_feature(limits, feature))
        )

    def require_kinds(self, kinds: Iterable[str], limits: PlanLimits) -> None:
        """Raise what :meth:`require` raises for files of a kind that is not open to this plan."""
        for kind in dict.fromkeys(kinds):
            if kind in KIND_FEATURES:
                feature, what = KIND_FEATURES[kind]
                self.require(feature, limits, what=what)

    def choose_models(
        self,
        limits: PlanLimits,
        *,
        model: str | None,
        fallback_models: Sequence[str] | None,
        needs: Needs | None = None,
    ) -> ModelChoice:
        """The models of a turn, by plan and by what they have to take.

        Raises :class:`ModelLacksInput` for a named model that cannot; where none was named, one that can steps in.
        """
        choice = self._by_plan(limits, model=model, fallback_models=fallback_models)
        return choice if needs is None else self._able(choice, limits, needs, is_named=model is not None)

    def _able(self, choice: ModelChoice, limits: PlanLimits, needs: Needs, *, is_named: bool) -> ModelChoice:
        settings = self._settings()
        if choice.model is None and settings.enable_auto_router and settings.model_routing_enabled:
            return choice
        first = choice.model or settings.llm_model
        profile = self._openrouter.catalog.get(first)
        lacking = needs.unmet(profile) if profile else None
        if lacking is None:
            return choice
        able = self._suggest(limits, needs)
        if is_named or not able:
            raise ModelLacksInput(first, lacking, able)
        note = f"{able[0]!r} answers: {first!r} cannot {lacking}."
        return replace(choice, model=able[0], notes=(note,))

    def _suggest(self, limits: PlanLimits, needs: Needs) -> list[str]:
        """A few models that can and that the plan has: the server's own first, then those with the cheapest answers."""
        settings, catalog = self._settings(), self._openrouter.catalog
        own = [catalog.get(each) for each in (settings.llm_model, *settings.default_fallback_models)]
        preferred = [each.id for each in own if each is not None and needs.unmet(each) is None]
        others = [each.id for each in able_models(catalog, needs) if not each.is_free]
        may_advanced = has_feature(limits, Feature.ADVANCED_MODELS)
        allowed = [each for each in dict.fromkeys((*preferred, *others)) if may_advanced or not self.is_advanced(each)]
        return allowed[:MOST_SUGGESTIONS]

    def _by_plan(self, limits: PlanLimits, *, model: str | None, fallback_models: Sequence[str] | None) -> ModelChoice:
        """A plan without advanced models gets the free model where none was named; a named advanced one is refused."""
        if has_feature(limits, Feature.ADVANCED_MODELS):
            return ModelChoice(model, fallback_models)
        named_models = [("model", model)] if model else []
        named_models += [("fallback_models", each) for each in fallback_models or ()]
        for field, named in named_models:
            self._openrouter.require_model(named, name=field)
            if self.is_advanced(named):
                self.require(Feature.ADVANCED_MODELS, limits, what=f"The model {named!r}")
        settings = self._settings()
        if fallback_models is None:
            fallback_models = [each for each in settings.default_fallback_models if not self.is_advanced(each)]
        is_routed = settings.enable_auto_router and settings.model_routing_enabled  # to whatever OpenRouter likes
        if model is not None or not (is_routed or self.is_advanced(settings.llm_model)):
            return ModelChoice(model, fallback_models)
        note = f"{settings.llm_free_model!r} answers on the {limits.plan.value.title()} plan."
        return ModelChoice(settings.llm_free_model, fallback_models, (note,))

    def is_advanced(self, model: str) -> bool:
        """Whether a model's output price is above the line; a model nobody knows counts as advanced."""
        profile = self._openrouter.catalog.get(model)
        price = profile.prices.base.completion if profile else None
        per_million = None if price is None else price * MILLION
        return is_advanced(per_million, self._settings().advanced_model_output_usd_per_m)

    def allows_caching(self, limits: PlanLimits, *, asked: bool) -> tuple[bool, tuple[str, ...]]:
        """Caching is never refused: a plan without it runs unmarked, with a note."""
        if not asked or has_feature(limits, Feature.PROMPT_CACHING):
            return asked, ()
        return False, (f"Prompt caching is not part of the {limits.plan.value.title()} plan: nothing was cached.",)


plan_gates = PlanGates(settings=get_settings, openrouter=openrouter_service)
