"""Each answer says whether its prompt was found in the cache, or why not; the statistics add it up."""

from typing import Any

import pytest
from sqlalchemy import event

from app.api.schemas.cache import CacheOutcomeName
from app.core.ids import new_id
from app.domain.plans import PlanTier
from app.openrouter.cache_verdicts import CacheOutcome
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.clocks import MovedClock
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
SONNET, MINI, GEMMA = "anthropic/claude-sonnet-5.5", "openai/gpt-4o-mini", "google/gemma-4-31b-it"
ANTHROPIC_HOSTS = ("Anthropic", "Amazon Bedrock", "Google", "Azure")
SYSTEM = "Answer from the Qur'an and the sound Sunnah, with the source, and say where the schools differ. " * 60


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def app(serve_app: Serve, clock: MovedClock, openrouter: EmulatorProcess) -> ServedApp:
    openrouter.configure(load_balancing=False)
    return await serve_app(
        clock=clock, default_fallback_models="", llm_model=SONNET, access_token_minutes=1_440, llm_max_tokens=64
    )


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    """Somebody on the Premium plan."""
    return await join_app(app, plan=PlanTier.PREMIUM)


async def keep_preset(person: Person, text: str = SYSTEM) -> str:
    """A system prompt of this person's own, so that nobody else has warmed it."""
    slug = new_id().hex
    body = {"name": "Long", "slug": slug, "model": SONNET, "system_prompt": f"{text}{slug}"}
    answer = await person.http.post("/api/v1/presets", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


class Talk:
    """A conversation under a preset."""

    def __init__(self, person: Person, conversation_id: str, preset_id: str) -> None:
        self.person, self.conversation_id, self.preset_id = person, conversation_id, preset_id

    async def ask(self, message: str = "What is Salah?", **body: Any) -> dict[str, Any]:
        answer = await self.person.chat(self.conversation_id, message, **{"preset_id": self.preset_id, **body})
        assert answer.status_code == 200, answer.text
        reply: dict[str, Any] = answer.json()
        return reply

    async def outcome(self, message: str = "What is Salah?", **body: Any) -> tuple[str | None, str | None]:
        told = (await self.ask(message, **body))["cache"]
        return told["outcome"], told["detail"]

    async def stats(self) -> dict[str, Any]:
        answer = await self.person.http.get(f"/api/v1/chat/cache-stats/{self.conversation_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
async def talk(person: Person) -> Talk:
    return Talk(person, await person.begin(), await keep_preset(person))


async def test_the_first_turn_writes_and_the_second_one_finds(talk: Talk) -> None:
    first = await talk.ask()
    assert first["cache"] == {"outcome": "first_request", "detail": None, "breakpoints": first["cache"]["breakpoints"]}
    assert first["cache"]["breakpoints"] >= 1
    assert await talk.outcome() == ("hit", None)


async def test_a_short_prompt_is_below_the_minimum(person: Person) -> None:
    outcome, detail = await Talk(person, await person.begin(), await keep_preset(person, "Be brief. ")).outcome()
    assert outcome == "below_minimum"
    assert detail is not None
    assert detail.endswith("of 1024 tokens")


async def test_a_changed_system_prompt_is_named(talk: Talk) -> None:
    await talk.ask()
    talk.preset_id = await keep_preset(talk.person)
    assert await talk.outcome() == ("prefix_changed", "system")


async def test_a_search_makes_it_another_prompt_and_two_with_one_are_alike(
    talk: Talk, openrouter: EmulatorProcess
) -> None:
    assert await talk.outcome() == ("first_request", None)
    assert await talk.outcome() == ("hit", None)
    assert await talk.outcome(web_search=True) == ("prefix_changed", "web search")
    assert await talk.outcome(web_search=True) == ("hit", None)
    assert await talk.outcome(web_search={"max_results": 7}) == ("prefix_changed", "web search")
    assert await talk.outcome(web_search={"max_results": 7}) == ("hit", None)
    assert (await talk.outcome())[0] == "hit"  # what the first two left is still there
    talk.preset_id = await keep_preset(talk.person)
    await talk.outcome(web_search=True)
    assert await talk.outcome() == ("prefix_changed", "web search")
    sent = [each["body"] for each in openrouter.requests() if "messages" in (each["body"] or ())]
    assert not any("cache_control" in tool for body in sent for tool in body.get("tools", ()))


async def test_what_is_too_old_has_expired(talk: Talk, clock: MovedClock, openrouter: EmulatorProcess) -> None:
    await talk.ask()
    clock.advance(3_660, openrouter)  # beyond the longest life that a mark can ask for
    assert await talk.outcome() == ("ttl_expired", "after 61 min")


async def test_another_host_is_told_by_the_name_of_the_one_before(talk: Talk, openrouter: EmulatorProcess) -> None:
    assert (await talk.ask())["provider"] == "Anthropic"
    openrouter.control.put("/hosts", json={"Anthropic": 503}).raise_for_status()
    assert await talk.outcome() == ("provider_switched", "Anthropic")


async def test_another_model_is_told_by_the_name_of_the_one_before(talk: Talk) -> None:
    await talk.ask()
    assert await talk.outcome(model=MINI) == ("model_switched", SONNET)
    assert await talk.outcome() == ("hit", None)  # the first model's cache is still there


async def test_a_model_whose_hosts_cache_nothing_supports_none(talk: Talk) -> None:
    assert await talk.outcome(model=GEMMA) == ("not_supported", GEMMA)


async def test_whoever_switches_caching_off_is_told_so(talk: Talk, app: ServedApp, join_app: Join) -> None:
    assert await talk.outcome(enable_caching=False) == ("disabled", None)
    assert (await talk.ask(enable_caching=False))["cache"]["breakpoints"] == 0
    free = await join_app(app, plan=PlanTier.FREE)
    assert (await free.chat(await free.begin())).json()["cache"]["outcome"] == "disabled"


async def test_a_cache_that_forgets_early_is_not_explained(talk: Talk, openrouter: EmulatorProcess) -> None:
    await talk.ask()
    openrouter.configure(prompt_caching=False)
    assert await talk.outcome() == ("unknown", None)


async def test_a_turn_that_was_off_does_not_hide_what_came_before(
    talk: Talk, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    await talk.ask()
    await talk.ask(enable_caching=False)
    clock.advance(3_660, openrouter)
    assert (await talk.outcome())[0] == "ttl_expired"


async def test_caching_that_is_off_pays_no_vendor_for_writes_of_its_own(talk: Talk) -> None:
    replies = [await talk.ask(model=TestWarmHost.MODEL, enable_caching=False) for _ in range(2)]
    assert [(each["cached_tokens_read"], each["cached_tokens_write"]) for each in replies] == [(0, 0), (0, 0)]
    assert [float(each["cache_discount_usd"]) for each in replies] == [0, 0]


async def test_what_a_fallback_marks_by_itself_is_known_too(
    talk: Talk, clock: MovedClock, openrouter: EmulatorProcess
) -> None:
    model = TestWarmHost.MODEL
    fault = openrouter.fault("upstream_503", model=SONNET)
    first = await talk.ask(model=SONNET, fallback_models=[model])
    assert (first["model"], first["cached_tokens_write"] > 0) == (model, True)
    openrouter.control.delete("/faults", params={"id": fault}).raise_for_status()
    clock.advance(1_860, openrouter)
    assert await talk.outcome(model=model) == ("ttl_expired", "after 31 min")


async def test_documents_of_an_earlier_turn_leave_the_rest_readable(talk: Talk) -> None:
    await talk.ask()
    await talk.ask("What does it say?", context=[{"text": "Prayer has conditions. " * 200}])
    assert (await talk.outcome())[0] == "hit"


async def test_messages_keep_what_became_of_their_cache(talk: Talk) -> None:
    replies = [await talk.ask() for _ in range(2)]
    read = await talk.person.http.get(f"/api/v1/conversations/{talk.conversation_id}")
    kept = [each for each in read.json()["messages"] if each["role"] == "assistant"]
    assert [each["cache_outcome"] for each in kept] == ["first_request", "hit"]
    assert [each["cache_breakpoint_count"] for each in kept] == [each["cache"]["breakpoints"] for each in replies]


class TestStatistics:
    async def test_they_add_up_what_the_answers_told(
        self, talk: Talk, clock: MovedClock, openrouter: EmulatorProcess
    ) -> None:
        replies = [await talk.ask() for _ in range(3)]
        clock.advance(3_660, openrouter)
        replies += [await talk.ask(), await talk.ask(enable_caching=False)]

        stats = await talk.stats()
        read = sum(each["cached_tokens_read"] for each in replies)
        written = sum(each["cached_tokens_write"] for each in replies)
        assert read > 0 < written
        assert stats == {
            "total_messages": 5,
            "cached_messages": 2,
            "total_cached_tokens": read,
            "total_cache_savings_usd": pytest.approx(sum(each["cache_discount_usd"] for each in replies), abs=1e-12),
            "cache_hit_rate": 0.4,
            "hit_rate_by_tokens": pytest.approx(read / sum(each["usage"]["prompt_tokens"] for each in replies)),
            "total_written_tokens": written,
            "misses": {"disabled": 1, "first_request": 1, "ttl_expired": 1},
        }

    async def test_a_write_that_nobody_read_is_a_loss(self, talk: Talk) -> None:
        await talk.ask()
        assert (await talk.stats())["total_cache_savings_usd"] < 0

    async def test_what_nobody_answered_is_not_counted(self, talk: Talk, openrouter: EmulatorProcess) -> None:
        await talk.ask()
        openrouter.control.put("/hosts", json=dict.fromkeys(ANTHROPIC_HOSTS, 400)).raise_for_status()
        refused = await talk.person.chat(talk.conversation_id, preset_id=talk.preset_id)
        assert refused.status_code >= 400
        assert (await talk.stats())["total_messages"] == 1

    async def test_a_stopped_answer_counts_with_what_it_read(
        self, app: ServedApp, talk: Talk, clock: MovedClock, openrouter: EmulatorProcess
    ) -> None:
        first = await talk.ask()
        openrouter.configure(tokens_per_second=20)
        url, body = "/api/v1/chat", {"conversation_id": talk.conversation_id, "message": "And?", "stream": True}
        message_id = ""
        async with talk.person.http.stream("POST", url, json={**body, "preset_id": talk.preset_id}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and not message_id:
                    message_id = line.split('"message_id":"')[1][:36]
                if line.endswith(".delta"):  # the model is thinking aloud
                    break
            stopped = await talk.person.http.post(f"/api/v1/chat/messages/{message_id}/stop")
        assert stopped.status_code == 200, stopped.text
        read = await talk.person.http.get(f"/api/v1/conversations/{talk.conversation_id}")
        assert read.json()["messages"][-1]["status"] == "stopped"
        clock.advance(10, openrouter)
        await app.services.reconciliation.run_once()

        stats = await talk.stats()
        assert (stats["total_messages"], stats["cached_messages"]) == (2, 1)
        assert stats["total_cached_tokens"] == first["cached_tokens_write"]
        assert stats["misses"] == {"first_request": 1}

    async def test_an_empty_conversation_has_zeros(self, talk: Talk) -> None:
        stats = await talk.stats()
        assert stats.pop("misses") == {}
        assert set(stats.values()) == {0}

    async def test_somebody_elses_conversation_is_not_found(self, app: ServedApp, talk: Talk, join_app: Join) -> None:
        other = await join_app(app)
        answer = await other.http.get(f"/api/v1/chat/cache-stats/{talk.conversation_id}")
        assert (answer.status_code, answer.json().get("error")) == (404, "not_found")

    async def test_they_take_one_statement_however_long_it_is(self, app: ServedApp, talk: Talk) -> None:
        statements: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                statements.append(statement)

        await talk.stats()
        counts = []
        for _ in range(3):
            await talk.ask()
            event.listen(app.services.database.engine.sync_engine, "before_cursor_execute", note)
            await talk.stats()
            event.remove(app.services.database.engine.sync_engine, "before_cursor_execute", note)
            counts.append(sum("FROM conversations" in each for each in statements))
            total = len(statements)
            statements.clear()
            assert total <= 2  # who is asking, and the sums
        assert counts == [1, 1, 1]


def test_the_api_names_each_outcome() -> None:
    reasons: Any = CacheOutcomeName
    names = {name for part in reasons.__args__ for name in getattr(part, "__args__", (part,))}
    assert names == {each.value for each in CacheOutcome}


class TestWarmHost:
    """OpenRouter forgets a conversation's host after ten idle minutes; this cache lives for thirty."""

    MODEL = "openai/gpt-5.6-luna"

    async def begin_on_azure(self, talk: Talk, openrouter: EmulatorProcess) -> None:
        openrouter.control.put("/hosts", json={"OpenAI": 503}).raise_for_status()
        assert (await talk.ask(model=self.MODEL))["provider"] == "Azure"
        openrouter.control.put("/hosts", json={"OpenAI": None}).raise_for_status()

    def order(self, talk: Talk, openrouter: EmulatorProcess) -> Any:
        request = openrouter.requests(session_id=talk.conversation_id)[-1]
        return request["body"].get("provider", {}).get("order")

    async def test_it_is_asked_for_when_its_route_is_older_than_its_cache(
        self, talk: Talk, clock: MovedClock, openrouter: EmulatorProcess
    ) -> None:
        await self.begin_on_azure(talk, openrouter)
        clock.advance(60, openrouter)
        assert await talk.outcome(model=self.MODEL) == ("hit", None)
        assert self.order(talk, openrouter) is None  # OpenRouter keeps to it by itself

        clock.advance(900, openrouter)
        assert await talk.outcome(model=self.MODEL) == ("hit", None)
        assert self.order(talk, openrouter) == ["Azure"]

        clock.advance(60, openrouter)
        assert await talk.outcome(model=self.MODEL) == ("hit", None)
        assert self.order(talk, openrouter) == ["Azure"]  # an order leaves no route behind

        clock.advance(1_860, openrouter)
        assert (await talk.outcome(model=self.MODEL))[0] == "ttl_expired"
        assert self.order(talk, openrouter) is None

    async def test_another_one_answers_when_it_is_down(
        self, talk: Talk, clock: MovedClock, openrouter: EmulatorProcess
    ) -> None:
        await self.begin_on_azure(talk, openrouter)
        clock.advance(900, openrouter)
        openrouter.control.put("/hosts", json={"Azure": 503}).raise_for_status()
        assert await talk.outcome(model=self.MODEL) == ("provider_switched", "Azure")

    async def test_it_is_not_asked_for_when_caching_is_off_or_hosts_are_sorted(
        self, talk: Talk, clock: MovedClock, openrouter: EmulatorProcess, serve_app: Serve
    ) -> None:
        await self.begin_on_azure(talk, openrouter)
        clock.advance(900, openrouter)
        await talk.ask(model=self.MODEL, enable_caching=False)
        assert self.order(talk, openrouter) is None
        sorting = await serve_app(clock=clock, routing_strategy="price", access_token_minutes=1_440)
        async with sorting.client(headers=talk.person.http.headers) as client:
            body = {"conversation_id": talk.conversation_id, "message": "And?", "model": self.MODEL}
            await client.post("/api/v1/chat", json={**body, "preset_id": talk.preset_id})
        assert self.order(talk, openrouter) is None
