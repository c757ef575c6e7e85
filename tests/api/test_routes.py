"""Which models a turn goes to: by strategy, in layers, by the live catalogue; and what is recorded and logged of it."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import structlog
from sqlalchemy import select

from app.db.models import MessageAttempt
from app.domain.plans import PlanTier
from app.openrouter.catalog import Catalog, shipped_catalog
from app.openrouter.live_catalog import LiveCatalog
from app.openrouter.retries import RetryPolicy
from app.services import openrouter_service
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

SONNET, GPT, MINI, HAIKU, GEMINI = (
    "anthropic/claude-sonnet-5.5",
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "anthropic/claude-haiku-5.5",
    "google/gemini-2.5-flash",
)
FOUR_FACTS = {"routing_strategy", "fallback_used", "models_attempted", "final_model_used"}


async def attempts_of(app: ServedApp, person: Person) -> Sequence[MessageAttempt]:
    async with app.services.database.read_only() as uow:
        query = select(MessageAttempt).where(MessageAttempt.user_id == person.user_id).order_by(MessageAttempt.ordinal)
        return (await uow._session.scalars(query)).all()


def asked(openrouter: EmulatorProcess, conversation_id: str) -> list[list[str]]:
    """The models of each call upstream, in order."""
    bodies = [each["body"] for each in openrouter.requests(session_id=conversation_id)]
    return [body.get("models") or [body["model"]] for body in bodies]


@pytest.fixture
def turn_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What the log says of turns."""
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        if str(event["event"]).startswith("turn."):
            lines.append(dict(event))
        raise structlog.DropEvent

    configure = structlog.configure
    monkeypatch.setattr(structlog, "configure", lambda **options: configure(**{**options, "processors": [keep]}))
    yield lines
    monkeypatch.undo()
    structlog.reset_defaults()


class TestStrategies:
    async def test_one_model_a_call_when_each_failure_is_to_be_seen(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(routing_strategy="fallback")
        person = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        openrouter.fault("upstream_400", model=SONNET)
        events = await person.stream(conversation_id, model=SONNET, fallback_models=[GPT])

        assert asked(openrouter, conversation_id) == [[SONNET], [GPT]]
        assert [each.data["error"] for each in events if each.name == "attempt.failed"] == ["bad_request"]
        answer = events[-1].data
        assert (answer["routing_strategy"], answer["fallback_used"]) == ("fallback", True)
        assert (answer["models_attempted"], answer["model"]) == ([SONNET, GPT], GPT)

    async def test_three_models_a_call_and_the_rest_in_a_second_layer(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app()
        person = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        openrouter.fault("http_404", model=SONNET)
        answer = (await person.chat(conversation_id, model=SONNET, fallback_models=[GPT, MINI, HAIKU, GEMINI])).json()

        assert asked(openrouter, conversation_id) == [[SONNET, GPT, MINI], [HAIKU, GEMINI]]
        assert answer["model"] == HAIKU
        assert answer["models_attempted"] == [SONNET, GPT, MINI, HAIKU]
        assert answer["fallback_used"] is True

    @pytest.mark.parametrize("strategy", ["price", "throughput", "latency"])
    async def test_hosts_are_sorted_as_the_operator_wishes(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, strategy: str
    ) -> None:
        person = await join_app(await serve_app(routing_strategy=strategy), plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        answer = (await person.chat(conversation_id)).json()

        assert openrouter.requests(session_id=conversation_id)[0]["body"]["provider"] == {"sort": strategy}
        assert answer["routing_strategy"] == strategy

    async def test_the_auto_router_chooses_where_nobody_named_a_model(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(enable_auto_router=True, default_fallback_models="")
        person = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        routed = (await person.chat(conversation_id)).json()
        named = (await person.chat(conversation_id, model=GPT)).json()

        assert asked(openrouter, conversation_id) == [["openrouter/auto"], [GPT]]
        assert routed["model"] != "openrouter/auto"
        assert (routed["fallback_used"], named["model"]) == (False, GPT)

    async def test_without_routing_the_asked_model_is_alone_and_a_note_says_so(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(await serve_app(model_routing_enabled=False), plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        answer = (await person.chat(conversation_id, model=SONNET, fallback_models=[GPT])).json()
        openrouter.fault("http_404", model=SONNET)
        refused = await person.chat(conversation_id, model=SONNET, fallback_models=[GPT])

        assert "Model routing is switched off: the fallback models were not used." in answer["notes"]
        assert refused.status_code == 502
        assert asked(openrouter, conversation_id) == [[SONNET], [SONNET]]


class TestLiveCatalogue:
    @pytest.fixture
    def an_older_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The app as shipped before there was MINI."""
        floor = Catalog(model for model in shipped_catalog() if model.id != MINI)
        monkeypatch.setattr(openrouter_service, "LiveCatalog", partial(LiveCatalog, floor=floor))

    @pytest.mark.usefixtures("an_older_version")
    async def test_a_model_that_only_openrouter_lists_is_accepted(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app()
        person = await join_app(app, plan=PlanTier.PREMIUM)
        async with asyncio.timeout(10):
            while app.services.openrouter.listed_models is None:  # noqa: ASYNC110  (a task of the app fetches it)
                await asyncio.sleep(0.02)
        answer = await person.chat(await person.begin(), model=MINI)

        assert answer.status_code == 200, answer.text
        assert MINI in [each["id"] for each in (await person.http.get("/api/v1/models")).json()]

    @pytest.mark.usefixtures("an_older_version")
    async def test_the_shipped_list_serves_while_openrouter_is_away(self, serve_app: Serve, join_app: Join) -> None:
        app = await serve_app(openrouter_base_url="http://127.0.0.1:9/api/v1")
        person = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        ids = [each["id"] for each in (await person.http.get("/api/v1/models")).json()]

        assert MINI not in ids
        assert SONNET in ids
        assert (await person.chat(conversation_id, model=MINI)).status_code == 422


class TestRecords:
    async def test_each_call_upstream_is_a_row(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(routing_strategy="fallback")
        app.services.openrouter._retries = RetryPolicy(first_wait=0.01)
        person = await join_app(app, plan=PlanTier.PREMIUM)
        openrouter.fault("stop_without_content", model=SONNET)
        await person.stream(await person.begin(), model=SONNET, fallback_models=[GPT])
        first, second, last = await attempts_of(app, person)

        assert [first.ordinal, second.ordinal, last.ordinal] == [1, 2, 3]
        assert (first.models_asked, first.model, first.outcome) == ([SONNET], SONNET, "failed")
        assert (first.error_code, first.next_step, second.next_step) == ("empty_answer", "retry", "next_models")
        assert (last.models_asked, last.model, last.outcome) == ([GPT], GPT, "completed")
        assert (last.error_code, last.next_step) == (None, None)
        for row in (first, second, last):  # nothing was said twice, and was billed all the same
            assert row.generation_id is not None
            assert row.provider == openrouter.bill(row.generation_id)["generations"][0]["provider"]
            assert row.cost_usd is not None
            assert float(row.cost_usd) == pytest.approx(float(openrouter.bill(row.generation_id)["total"]))
            assert row.cost_usd > 0
            assert row.latency_ms is not None
            assert (row.prompt_tokens or 0) > 0
        assert last.first_token_ms is not None

    async def test_a_refused_call_keeps_its_status(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app()
        person = await join_app(app, plan=PlanTier.PREMIUM)
        openrouter.fault("http_402")
        assert (await person.chat(await person.begin())).status_code == 502
        (row,) = await attempts_of(app, person)

        assert (row.http_status, row.error_code, row.next_step) == (402, "payment_required", None)
        assert (row.generation_id, row.cost_usd) == (None, None)


class TestLogs:
    async def test_an_answered_turn_is_one_line_with_four_facts(
        self, turn_lines: list[dict[str, Any]], serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(await serve_app(log_level="INFO", routing_strategy="fallback"), plan=PlanTier.PREMIUM)
        openrouter.fault("http_404", model=SONNET)
        await person.chat(await person.begin(), model=SONNET, fallback_models=[GPT])

        (line,) = turn_lines
        assert line["event"] == "turn.completed"
        assert {name: line[name] for name in FOUR_FACTS} == {
            "routing_strategy": "fallback",
            "fallback_used": True,
            "models_attempted": [SONNET, GPT],
            "final_model_used": GPT,
        }

    async def test_a_failed_turn_is_one_line_with_the_same_facts(
        self, turn_lines: list[dict[str, Any]], serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(await serve_app(log_level="INFO"), plan=PlanTier.PREMIUM)
        openrouter.fault("http_404")
        conversation_id = await person.begin()
        await person.stream(conversation_id, model=SONNET, fallback_models=[GPT])

        (line,) = turn_lines
        assert (line["event"], line["reason"]) == ("turn.failed", "model_not_found")
        assert {name: line[name] for name in FOUR_FACTS} == {
            "routing_strategy": "auto",
            "fallback_used": False,
            "models_attempted": [SONNET, GPT],
            "final_model_used": None,
        }
        stored = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"][-1]
        assert {name: stored[name] for name in ("fallback_used", "models_attempted", "final_model_used")} == {
            "fallback_used": False,
            "models_attempted": [SONNET, GPT],
            "final_model_used": None,
        }


@pytest.mark.parametrize(
    ("fault", "code"), [("context_length", "context_too_long"), ("content_policy", "content_moderated")]
)
async def test_what_the_person_can_mend_is_told_as_a_400(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, fault: str, code: str
) -> None:
    person = await join_app(await serve_app(), plan=PlanTier.PREMIUM)
    openrouter.fault("http_400", params={"variant": fault})
    answer = await person.chat(await person.begin(), fallback_models=[])

    assert (answer.status_code, answer.json().get("error")) == (400, code)


async def test_a_refusal_is_an_answer_that_is_shown_and_kept(person: Person, openrouter: EmulatorProcess) -> None:
    openrouter.fault("refusal")
    conversation_id = await person.begin()
    answer = (await person.chat(conversation_id)).json()
    stored = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"][-1]

    assert answer["content"] == stored["content"] == "I cannot help with that."


async def test_an_answer_lost_in_thinking_says_so(person: Person, openrouter: EmulatorProcess) -> None:
    openrouter.fault("length_in_reasoning")
    answer = (await person.chat(await person.begin())).json()

    assert (answer["content"], answer["finish_reason"]) == ("", "length")
    assert any("max_tokens" in note for note in answer["notes"])


async def test_a_prompt_told_as_nothing_is_at_least_what_the_cache_had_of_it(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    person = await join_app(await serve_app(), plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    await person.chat(conversation_id, "a long tradition " * 1500)
    openrouter.fault("zero_prompt_tokens")
    answer = (await person.chat(conversation_id, "And now?")).json()

    assert answer["cached_tokens_read"] > 0
    assert answer["usage"]["prompt_tokens"] == answer["cached_tokens_read"] + answer["cached_tokens_write"]
    assert answer["total_cost_usd"] > 0
