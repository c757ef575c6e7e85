"""What a chat turn sends upstream, as the emulator received it."""

from typing import Any

import pytest

from app.core.security import pseudonym
from app.domain.modes import MODES
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import TEST_JWT_SECRET, TEST_KEY, ServedApp

pytestmark = pytest.mark.anyio


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan: 2,000 messages, every model, caching."""
    return await join_app(app, plan=PlanTier.PREMIUM)


def received(openrouter: EmulatorProcess, conversation_id: str) -> dict[str, Any]:
    """The newest request of a conversation."""
    request: dict[str, Any] = openrouter.requests(session_id=conversation_id)[-1]
    return request


async def test_the_prompt_is_system_history_question(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin(mode="fiqh")
    first = (await person.chat(conversation_id, "What is Zakat?")).json()
    await person.chat(conversation_id, "Who pays it?")

    assert received(openrouter, conversation_id)["body"]["messages"] == [
        {"role": "system", "content": MODES["fiqh"].system_prompt},
        {"role": "user", "content": "What is Zakat?"},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": "Who pays it?"},
    ]


async def test_settings_fill_what_the_request_leaves_out(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(
        llm_model="openai/gpt-4o-mini", llm_temperature=0.2, llm_max_tokens=77, default_fallback_models=""
    )
    person = await join_app(app, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    await person.chat(conversation_id)

    body = received(openrouter, conversation_id)["body"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("openai/gpt-4o-mini", 0.2, 77)
    assert "models" not in body


async def test_the_request_overrides_the_settings(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    await person.chat(
        conversation_id, model="openai/gpt-4o", fallback_models=["openai/gpt-4o-mini"], temperature=0, max_tokens=50
    )

    body = received(openrouter, conversation_id)["body"]
    assert body["models"] == ["openai/gpt-4o", "openai/gpt-4o-mini"]
    assert (body["temperature"], body["max_tokens"]) == (0, 50)


async def test_retired_default_models_are_asked_by_their_successors_once(
    person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id)

    assert received(openrouter, conversation_id)["body"]["models"] == ["anthropic/claude-sonnet-5.5", "openai/gpt-4o"]


async def test_without_routing_only_the_asked_model_is_called(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(model_routing_enabled=False)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    await person.chat(conversation_id, fallback_models=["openai/gpt-4o"])

    body = received(openrouter, conversation_id)["body"]
    assert body["model"] == "anthropic/claude-sonnet-5.5"
    assert "models" not in body


async def test_the_call_names_the_app_the_conversation_and_the_request(
    person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    answer = await person.http.post(
        "/api/v1/chat",
        json={"conversation_id": conversation_id, "message": "Salam"},
        headers={"X-Request-ID": "tour-1"},
    )

    request = received(openrouter, conversation_id)
    assert answer.headers["X-Request-ID"] == "tour-1"
    assert request["body"]["metadata"] == {"request_id": "tour-1"}
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert headers["http-referer"] == "https://wisqu.com"
    assert headers["x-openrouter-title"] == "WisQu Islamic Chatbot"
    assert headers["x-request-id"] == "tour-1"


async def test_the_user_goes_upstream_as_a_pseudonym(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    await person.chat(conversation_id)

    sent = str(received(openrouter, conversation_id))
    assert received(openrouter, conversation_id)["body"]["user"] == pseudonym(TEST_JWT_SECRET, person.user_id)
    assert str(person.user_id) not in sent
    assert person.user_id.hex not in sent
    assert person.email not in sent
    assert TEST_KEY not in sent


async def test_users_are_not_named_when_tracking_is_off(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(track_user_ids=False)
    person = await join_app(app, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    await person.chat(conversation_id)

    assert "user" not in received(openrouter, conversation_id)["body"]


async def test_documents_go_with_their_question_only(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    await person.chat(
        conversation_id, "What does it say?", context=[{"text": "Patience is light.", "title": 'A "saying"'}]
    )
    parts = received(openrouter, conversation_id)["body"]["messages"][-1]["content"]
    newest = "".join(part["text"] for part in parts)
    await person.chat(conversation_id, "And now?")

    assert "Patience is light." in newest
    assert 'title="A &quot;saying&quot;"' in newest
    assert newest.endswith("What does it say?")
    asked = [each for each in received(openrouter, conversation_id)["body"]["messages"] if each["role"] == "user"]
    assert [each["content"] for each in asked] == ["What does it say?", "And now?"]


async def test_a_failed_question_is_not_sent_again(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    broken = await serve_app(openrouter_base_url="http://127.0.0.1:9/api/v1")
    person = await join_app(broken, plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    assert (await person.chat(conversation_id, "Lost question")).status_code == 502
    healthy = await serve_app()
    person.http.base_url = healthy.url

    await person.chat(conversation_id, "Second try")

    assert "Lost question" not in str(received(openrouter, conversation_id)["body"])


async def test_a_preset_speaks_unless_the_request_does(person: Person, openrouter: EmulatorProcess) -> None:
    preset = {
        "name": "Scholar",
        "slug": "scholar",
        "model": "openai/gpt-4o",
        "system_prompt": "Answer in verse.",
        "temperature": 0.9,
        "top_p": 0.95,
        "max_tokens": 64,
    }
    preset_id = (await person.http.post("/api/v1/presets", json=preset)).json()["id"]
    conversation_id = await person.begin()
    await person.chat(conversation_id, preset_id=preset_id, temperature=0.1)

    body = received(openrouter, conversation_id)["body"]
    assert body["messages"][0] == {"role": "system", "content": "Answer in verse."}
    assert body["models"][0] == "openai/gpt-4o"
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.1, 0.95, 64)


async def test_long_prompts_are_marked_for_the_cache_unless_told_not_to(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
) -> None:
    """In an app of its own: one that has met people who never come back marks less."""
    person = await join_app(await serve_app(), plan=PlanTier.PREMIUM)
    conversation_id, long_text = await person.begin(), "a long tradition " * 300
    await person.chat(conversation_id, long_text)
    marked = received(openrouter, conversation_id)["body"]
    await person.chat(conversation_id, long_text, enable_caching=False)
    unmarked = received(openrouter, conversation_id)["body"]

    assert marked["messages"][-1]["content"] == [
        {"type": "text", "text": long_text, "cache_control": {"type": "ephemeral"}}
    ]
    assert "cache_control" not in str(unmarked)


@pytest.mark.parametrize(
    "settings", [{"prompt_caching_enabled": False}, {"cache_control_strategy": "off"}, {"cache_min_tokens": 100_000}]
)
async def test_settings_can_keep_prompts_unmarked(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, settings: dict[str, Any]
) -> None:
    person = await join_app(await serve_app(**settings), plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    await person.chat(conversation_id, "a long tradition " * 300)

    assert "cache_control" not in str(received(openrouter, conversation_id)["body"])


@pytest.mark.parametrize("strategy", ["price", "throughput", "latency"])
async def test_routing_strategies_sort_the_hosts(
    serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, strategy: str
) -> None:
    person = await join_app(await serve_app(routing_strategy=strategy), plan=PlanTier.PREMIUM)
    conversation_id = await person.begin()
    body = (await person.chat(conversation_id)).json()

    assert received(openrouter, conversation_id)["body"]["provider"] == {"sort": strategy}
    assert body["routing_strategy"] == strategy
