"""A turn's route follows from the request, the operator's policy, and what models can do."""

from typing import Any

import pytest

from app.openrouter.attempts import Attempt, summarize
from app.openrouter.catalog import shipped_catalog
from app.openrouter.errors import ModelNotFound
from app.openrouter.routing import Needs, RoutePlan, RoutePolicy, plan_route
from app.openrouter.types import ChatRequest, ProviderPreferences

CATALOG = shipped_catalog()
SONNET, GPT, MINI, GEMINI = (
    "anthropic/claude-sonnet-5.5",
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "google/gemini-2.5-flash",
)
DEEPSEEK = "deepseek/deepseek-v3.2"


def plan(requested: str | None = SONNET, *, fallbacks: tuple[str, ...] = (), **options: Any) -> RoutePlan:
    names = ("needs", "provider")
    policy = RoutePolicy(**{"default_model": GPT} | {key: each for key, each in options.items() if key not in names})
    rest = {key: each for key, each in options.items() if key in names}
    return plan_route(requested, policy=policy, catalog=CATALOG, fallback_models=fallbacks, **rest)


class TestChain:
    def test_the_requests_own_fallbacks_stand_in_for_the_default_ones(self) -> None:
        assert plan(fallbacks=(MINI,), default_fallback_models=(GPT,)).layers == ((SONNET, MINI),)
        assert plan(default_fallback_models=(GPT,)).layers == ((SONNET, GPT),)

    def test_more_than_three_models_continue_in_the_next_layer(self) -> None:
        layers = plan(fallbacks=(GPT, MINI, GEMINI, DEEPSEEK)).layers
        assert layers == ((SONNET, GPT, MINI), (GEMINI, DEEPSEEK))

    def test_a_model_is_asked_once(self) -> None:
        assert plan(fallbacks=(GPT, "anthropic/claude-3.5-sonnet", GPT)).layers == ((SONNET, GPT),)

    def test_retired_models_are_replaced_with_a_note(self) -> None:
        planned = plan("anthropic/claude-3.5-sonnet")
        assert planned.requested == SONNET
        assert "claude-3.5-sonnet" in planned.notes[0]

    def test_no_model_means_the_default_one(self) -> None:
        assert plan(None).layers == ((GPT,),)

    def test_an_unknown_model_is_refused(self) -> None:
        with pytest.raises(ModelNotFound):
            plan("x/unknown")

    def test_an_unknown_fallback_is_trusted_with_plain_text_only(self) -> None:
        assert plan(fallbacks=("x/new",)).layers == ((SONNET, "x/new"),)
        assert plan(fallbacks=("x/new",), needs=Needs(images=True)).layers == ((SONNET,),)


class TestStrategies:
    def test_auto_leaves_hosts_to_openrouter(self) -> None:
        assert (plan().strategy, plan().provider) == ("auto", None)

    def test_fallback_asks_one_model_a_call(self) -> None:
        assert plan(fallbacks=(GPT, MINI), strategy="fallback").layers == ((SONNET,), (GPT,), (MINI,))

    @pytest.mark.parametrize("strategy", ["price", "throughput", "latency"])
    def test_the_others_sort_the_hosts(self, strategy: str) -> None:
        planned = plan(fallbacks=(GPT,), strategy=strategy)
        assert planned.provider == ProviderPreferences(sort=strategy)
        assert planned.layers == ((SONNET, GPT),)

    def test_what_the_request_prefers_stays(self) -> None:
        preferred = ProviderPreferences(sort="latency", zdr=True)
        assert plan(strategy="price", provider=preferred).provider == preferred

    def test_routing_switched_off_calls_the_requested_model_alone(self) -> None:
        planned = plan(fallbacks=(GPT,), routing_enabled=False, strategy="price", default_fallback_models=(MINI,))
        assert (planned.layers, planned.strategy, planned.provider) == (((SONNET,),), "off", None)
        assert "switched off" in planned.notes[0]
        assert plan(routing_enabled=False, default_fallback_models=(MINI,)).notes == ()


class TestAutoRouter:
    def test_it_chooses_for_turns_that_name_no_model(self) -> None:
        planned = plan(None, auto_router_enabled=True, auto_router_models=("anthropic/*",))
        assert planned.layers == (("openrouter/auto",),)
        assert planned.plugins == ({"id": "auto-router", "allowed_models": ["anthropic/*"]},)

    def test_a_named_model_is_not_routed(self) -> None:
        assert plan(auto_router_enabled=True).layers == ((SONNET,),)
        assert plan(auto_router_enabled=True).plugins == ()

    @pytest.mark.parametrize("options", [{}, {"auto_router_enabled": True, "routing_enabled": False}])
    def test_switched_off_the_default_model_steps_in(self, options: dict[str, Any]) -> None:
        planned = plan("openrouter/auto", **options)
        assert planned.layers == ((GPT,),)
        assert "auto router" in planned.notes[0]


class TestNeeds:
    @pytest.mark.parametrize(
        ("needs", "able", "unable"),
        [
            (Needs(images=True), GPT, DEEPSEEK),
            (Needs(audio=True), GEMINI, SONNET),
            (Needs(native_files=True), SONNET, DEEPSEEK),
            (Needs(image_output=True), "google/gemini-2.5-flash-image", SONNET),
            (Needs(context_tokens=500_000), SONNET, GPT),
            (Needs(tools=True), SONNET, "google/gemini-2.5-flash-image"),
            (Needs(schema=True), SONNET, "anthropic/claude-opus-4.1"),
        ],
    )
    def test_only_models_that_can_do_it_are_asked(self, needs: Needs, able: str, unable: str) -> None:
        planned = plan(able, fallbacks=(unable,), needs=needs)
        assert planned.layers == ((able,),)
        assert repr(unable) in planned.notes[-1]
        assert plan(unable, fallbacks=(able,), needs=needs).layers == ((able,),)

    def test_nobody_able_is_refused_with_the_reason(self) -> None:
        with pytest.raises(ModelNotFound, match="read images"):
            plan(DEEPSEEK, needs=Needs(images=True))

    def test_files_suit_every_model_when_openrouter_parses_them(self) -> None:
        assert plan(DEEPSEEK, needs=Needs()).layers == ((DEEPSEEK,),)

    def test_a_schema_wants_hosts_that_know_schemas(self) -> None:
        assert plan(needs=Needs(schema=True)).provider == ProviderPreferences(require_parameters=True)


class TestRequest:
    def test_it_asks_the_layers_models_with_the_plans_preferences(self) -> None:
        planned = plan(None, auto_router_enabled=True, auto_router_models=("a/*",), strategy="price", fallbacks=(GPT,))
        base = ChatRequest(messages=[], model="x", max_tokens=5, plugins=({"id": "file-parser"},))
        request = planned.request(base, planned.layers[0])
        assert request.models == ("openrouter/auto", GPT)
        assert request.provider == ProviderPreferences(sort="price")
        assert request.plugins is not None
        assert [each["id"] for each in request.plugins] == ["file-parser", "auto-router"]


def attempt(*asked: str, model: str | None = None, error: str | None = None) -> Attempt:
    return Attempt(number=1, models_asked=asked, model=model or asked[0], provider=None, error=error)


class TestSummary:
    @pytest.mark.parametrize(
        ("attempts", "tried", "final", "fallback"),
        [
            ([attempt(SONNET)], (SONNET,), SONNET, False),
            ([attempt("anthropic/claude-haiku-4.5", model="anthropic/claude-4.5-haiku-20251001")], None, None, False),
            ([attempt(SONNET, GPT, MINI, model="openai/gpt-4o-2024-11-20")], (SONNET, GPT), None, True),
            ([attempt(SONNET, error="rate_limited"), attempt(GPT)], (SONNET, GPT), GPT, True),
            ([attempt(SONNET, error="rate_limited"), attempt(SONNET)], (SONNET,), SONNET, False),
            ([attempt(SONNET, GPT, error="bad_request")], (SONNET, GPT), None, False),
            ([attempt("openrouter/auto", model=MINI)], ("openrouter/auto",), MINI, False),
        ],
    )
    def test_a_message_remembers_what_was_tried(
        self, attempts: list[Attempt], tried: tuple[str, ...] | None, final: str | None, fallback: bool
    ) -> None:
        summary = summarize(attempts, requested=attempts[0].models_asked[0], strategy="auto", catalog=CATALOG)
        assert summary.fallback_used is fallback
        assert tried is None or summary.models_attempted == tried
        assert final is None or summary.final_model_used == final
