"""Bodies of ``/models``."""

from app.api.schemas.common import ReadModel, Usd
from app.domain.plans import PlanTier


class PricesRead(ReadModel):
    """USD for a million tokens; null where the model has no such price, or OpenRouter's router decides it."""

    prompt: Usd | None
    completion: Usd | None
    cache_read: Usd | None
    cache_write: Usd | None


class FeaturesRead(ReadModel):
    """What a request may ask of the model beside an answer."""

    tools: bool
    structured_outputs: bool
    reasoning: bool


class ModelRead(ReadModel):
    """A model. ``unlocked_by`` is the cheapest plan that may use it; ``replaces`` are retired ids it answers for."""

    id: str
    name: str
    context_length: int | None
    max_output_tokens: int | None
    input_modalities: list[str]
    output_modalities: list[str]
    prices: PricesRead
    features: FeaturesRead
    unlocked_by: PlanTier | None
    replaces: list[str]
