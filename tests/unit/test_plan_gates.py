"""What the operator switches off is off for everybody; what the plan lacks is named with the plan that has it."""

from pathlib import Path
from typing import Any

import pytest

from app.domain.features import Feature
from app.domain.plans import PLAN_LIMITS
from app.services.openrouter_service import OpenRouterService
from app.services.plan_gates import FeatureDisabled, FeatureNotAvailable, PlanGates
from tests.support.served import make_settings

FREE, *_, ENTERPRISE = PLAN_LIMITS
SWITCHED = [Feature.IMAGE_GENERATION, Feature.PDF_PROCESSING, Feature.AUDIO_PROCESSING]


def make_gates(folder: Path, **switches: Any) -> PlanGates:
    settings = make_settings(database_url="", data_dir=folder, openrouter_url="http://127.0.0.1:9/api/v1", **switches)
    return PlanGates(settings=lambda: settings, openrouter=OpenRouterService(settings=lambda: settings))


@pytest.mark.parametrize("feature", SWITCHED)
@pytest.mark.parametrize("limits", [FREE, ENTERPRISE], ids=["free", "enterprise"])
def test_what_is_switched_off_is_refused_whatever_the_plan(tmp_path: Path, feature: Feature, limits: Any) -> None:
    gates = make_gates(tmp_path, **{f"{feature.value}_enabled": False})

    with pytest.raises(FeatureDisabled) as refusal:
        gates.require(feature, limits, what="It")
    assert refusal.value.status_code == 503
    assert refusal.value.body() == {
        "error": "feature_disabled",
        "detail": "It is switched off on this server.",
        "feature": feature.value,
    }


@pytest.mark.parametrize("feature", SWITCHED)
def test_what_is_switched_on_is_the_plans_to_give(tmp_path: Path, feature: Feature) -> None:
    gates = make_gates(tmp_path)

    gates.require(feature, ENTERPRISE, what="It")
    with pytest.raises(FeatureNotAvailable) as refusal:
        gates.require(feature, FREE, what="It")
    assert (refusal.value.status_code, refusal.value.fields["available_in"]) == (403, "premium")
