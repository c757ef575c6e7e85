"""``POST /chat/structured``: data that fits a schema, or an explicit failure; every call that was billed is booked."""

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from sqlalchemy import select

from app.db.models import Message, MessageAttempt, QuotaLease, UsageEvent
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Event, Person, parse_events
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

GPT, MINI, SONNET = "openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-sonnet-5.5"
RATING = {
    "title": "Rating",
    "type": "object",
    "properties": {"rating": {"type": "number", "minimum": 1, "maximum": 5}, "explanation": {"type": "string"}},
    "required": ["rating", "explanation"],
}
CLOSED = {
    "type": "object",
    "properties": {"explanation": {"type": "string"}, "words": {"type": "array", "items": {"type": "string"}}},
    "required": ["explanation", "words"],
    "additionalProperties": False,
}
PATH = "/api/v1/chat/structured"


@pytest.fixture
async def app(serve_app: Serve) -> ServedApp:
    return await serve_app(routing_strategy="fallback", default_fallback_models="")


@pytest.fixture
async def person(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def ask(
    person: Person, schema: Any = RATING, *, conversation_id: str | None = None, key: str | None = None, **body: Any
) -> httpx2.Response:
    asked = {"conversation_id": conversation_id or await person.begin(), "message": "Rate this", **body}
    headers = {"Idempotency-Key": key} if key else {}
    return await person.http.post(PATH, json=asked | {"response_schema": schema}, headers=headers)


async def stream(person: Person, schema: Any = RATING, **body: Any) -> list[Event]:
    answer = await ask(person, schema, stream=True, **body)
    assert answer.status_code == 200, answer.text
    return parse_events(answer.text)


async def rows(app: ServedApp, person: Person, table: Any) -> list[Any]:
    async with app.services.database.read_only() as uow:
        query = select(table).where(table.user_id == person.user_id).order_by(table.id)
        return list(await uow._session.scalars(query))


async def stored_answer(app: ServedApp, person: Person) -> Message:
    (message,) = [each for each in await rows(app, person, Message) if each.role == "assistant"]
    return message  # type: ignore[no-any-return]


def bodies(openrouter: EmulatorProcess) -> list[dict[str, Any]]:
    return [each["body"] for each in openrouter.requests() if "messages" in (each["body"] or ())]


async def assert_books_are_right(
    app: ServedApp, person: Person, openrouter: EmulatorProcess, *, lost: int, charged: bool = True
) -> None:
    """Every billed call stands in the ledger once; the person pays for the one that answered, and for that alone."""
    lines: Sequence[UsageEvent] = await rows(app, person, UsageEvent)
    kinds = sorted(each.kind for each in lines)
    assert kinds == ["chat"] * charged + ["lost_attempt"] * lost
    for line in lines:
        assert line.cost_usd == Decimal(str(openrouter.bill(str(line.generation_id))["total"]))
    assert sum(each.cost_usd or 0 for each in lines) == Decimal(str(openrouter.bill()["total"]))
    usage = await person.usage()
    own = [each for each in lines if each.kind == "chat"]
    assert usage["messages"]["used"] == len(own)
    assert usage["tokens"]["used"] == sum(each.prompt_tokens + each.completion_tokens for each in own)
    assert Decimal(str(usage["total_cost_usd"])) == sum((each.cost_usd or Decimal(0) for each in own), Decimal(0))
    assert usage["messages"]["reserved"] == usage["tokens"]["reserved"] == 0


class TestAnswers:
    async def test_the_data_fits_and_is_stored_with_its_schema(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        answer = (await ask(person, conversation_id=conversation_id, model=GPT)).json()

        jsonschema_rs.validate(RATING, answer["structured_data"])
        assert (answer["schema_validation_passed"], answer["outcome"]) == (True, "valid")
        assert answer["models_attempted"] == [GPT]
        message = await stored_answer(app, person)
        assert (message.response_schema, message.structured_data) == (RATING, answer["structured_data"])
        assert (message.schema_validation_passed, message.schema_outcome) == (True, "valid")
        assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (
            message.prompt_tokens,
            message.completion_tokens,
        )
        await assert_books_are_right(app, person, openrouter, lost=0)
        read = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
        assert read[1]["structured_data"] == answer["structured_data"]

    async def test_the_wire_asks_for_the_schema_and_for_hosts_that_heed_it(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        await ask(person, model=GPT, max_tokens=200, temperature=0.5)

        (body,) = bodies(openrouter)
        messages = body.pop("messages")
        assert [each["role"] for each in messages] == ["system", "user"]
        for name in ("session_id", "user", "metadata"):
            body.pop(name)
        assert body == {
            "model": GPT,
            "max_tokens": 200,
            "temperature": 0.5,
            "stream": True,
            "provider": {"require_parameters": True},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "Rating", "strict": False, "schema": RATING},
            },
        }

    async def test_a_closed_schema_is_asked_for_strictly(self, person: Person, openrouter: EmulatorProcess) -> None:
        answer = (await ask(person, CLOSED, model=GPT)).json()

        (body,) = bodies(openrouter)
        assert body["response_format"]["json_schema"] == {"name": "answer", "strict": True, "schema": CLOSED}
        jsonschema_rs.validate(CLOSED, answer["structured_data"])

    async def test_what_not_every_host_takes_is_left_out_where_hosts_must_take_all(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        answer = (await ask(person, model=SONNET, temperature=0.5)).json()

        (body,) = bodies(openrouter)
        assert "temperature" not in body
        assert (answer["model"], answer["outcome"]) == (SONNET, "valid")
        assert "`temperature` was not sent: not every model asked takes it." in answer["notes"]

    async def test_a_repair_was_held_before(self, app: ServedApp, person: Person, openrouter: EmulatorProcess) -> None:
        openrouter.fault("json_shape", params={"shape": "prose"}, times=1)
        await ask(person, model=GPT, max_tokens=500)

        (lease,) = await rows(app, person, QuotaLease)
        (line,) = [each for each in await rows(app, person, UsageEvent) if each.kind == "chat"]
        assert line.prompt_tokens + line.completion_tokens <= lease.tokens
        assert line.cost_usd is not None
        assert line.cost_usd <= lease.cost_usd
        assert lease.tokens > 500 + 500 + 1_500

    async def test_a_plain_chat_says_nothing_of_schemas(self, person: Person, openrouter: EmulatorProcess) -> None:
        answer = (await person.chat(await person.begin(), model=GPT)).json()

        assert {"structured_data", "schema_validation_passed", "outcome"}.isdisjoint(answer)
        (body,) = bodies(openrouter)
        assert "response_format" not in body
        assert "provider" not in body


class TestMending:
    @pytest.mark.parametrize("shape", ["fenced", "trailing_comma"])
    async def test_wrong_syntax_is_healed_without_another_call(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, shape: str
    ) -> None:
        openrouter.fault("json_shape", params={"shape": shape})
        answer = (await ask(person, model=GPT)).json()

        jsonschema_rs.validate(RATING, answer["structured_data"])
        assert answer["outcome"] == "healed"
        await assert_books_are_right(app, person, openrouter, lost=0)

    @pytest.mark.parametrize("shape", ["mismatch", "prose", "cut", "empty_object"])
    async def test_a_model_mends_its_answer_once_it_is_told_what_is_wrong(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess, shape: str
    ) -> None:
        openrouter.fault("json_shape", params={"shape": shape}, times=1)
        answer = (await ask(person, model=GPT, fallback_models=[MINI])).json()

        jsonschema_rs.validate(RATING, answer["structured_data"])
        assert (answer["outcome"], answer["models_attempted"], answer["fallback_used"]) == ("repaired", [GPT], False)
        first, second = bodies(openrouter)
        assert second["model"] == GPT
        wrong, told = second["messages"][-2:]
        assert second["messages"][:-2] == first["messages"]
        assert (wrong["role"], told["role"]) == ("assistant", "user")
        assert "does not fit the JSON schema" in told["content"]
        if shape == "mismatch":
            assert wrong["content"] == '{"unexpected":[1,"two",null]}'
            assert '- at /: "rating" is a required property' in told["content"]
        attempts: Sequence[MessageAttempt] = await rows(app, person, MessageAttempt)
        assert [(each.error_code, each.next_step) for each in attempts] == [
            ("schema_not_satisfied", "repair"),
            (None, None),
        ]
        assert attempts[0].partial_content == wrong["content"]
        await assert_books_are_right(app, person, openrouter, lost=1)

    async def test_the_mended_answer_of_the_model_that_served_is_asked_for_when_openrouter_chose_it(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(await serve_app(), plan=PlanTier.PREMIUM)
        openrouter.fault("upstream_503", model=GPT)
        openrouter.fault("json_shape", params={"shape": "mismatch"}, times=2)
        answer = (await ask(person, model=GPT, fallback_models=[MINI, SONNET])).json()

        asked = [each.get("models") or [each["model"]] for each in bodies(openrouter)]
        assert asked == [[GPT, MINI, SONNET], [MINI], [SONNET]]
        assert (answer["outcome"], answer["model"]) == ("valid", SONNET)
        assert answer["models_attempted"] == [GPT, MINI, SONNET]

    async def test_models_that_stood_ready_were_not_attempted(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(await serve_app(), plan=PlanTier.PREMIUM)
        openrouter.fault("json_shape", params={"shape": "mismatch"}, times=1)
        answer = (await ask(person, model=GPT, fallback_models=[MINI, SONNET])).json()

        assert (answer["outcome"], answer["models_attempted"]) == ("repaired", [GPT])

    async def test_a_refusal_goes_to_the_next_model_at_once(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("refusal", model=GPT)
        answer = (await ask(person, model=GPT, fallback_models=[MINI])).json()

        assert [each["model"] for each in bodies(openrouter)] == [GPT, MINI]
        assert (answer["outcome"], answer["model"], answer["fallback_used"]) == ("valid", MINI, True)
        await assert_books_are_right(app, person, openrouter, lost=1)

    async def test_a_cut_answer_is_not_read_however_whole_it_looks(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("finish_reason", params={"value": "length"})
        answer = await ask(person, model=GPT)

        assert (answer.status_code, answer.json().get("error")) == (502, "schema_not_satisfied")
        assert answer.json()["misfits"] == [{"place": "/", "message": "the answer was cut at max_tokens"}]


class TestAChainThatFails:
    async def test_three_models_that_fail_differently_end_in_an_explicit_failure(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("json_shape", params={"shape": "mismatch"}, model=GPT)
        openrouter.fault("upstream_400", model=MINI)
        openrouter.fault("json_shape", params={"shape": "prose"}, model=SONNET)
        answer = await ask(person, model=GPT, fallback_models=[MINI, SONNET])

        body = answer.json()
        assert (answer.status_code, body["error"]) == (502, "schema_not_satisfied")
        assert body["models_attempted"] == [GPT, MINI, SONNET]
        assert [(each["model"], each["error"]) for each in body["attempts"]] == [
            (GPT, "schema_not_satisfied"),
            (GPT, "schema_not_satisfied"),
            (MINI, "bad_request"),
            (SONNET, "schema_not_satisfied"),
            (SONNET, "schema_not_satisfied"),
        ]
        assert body["misfits"] == [{"place": "/", "message": "is not JSON: holds no JSON"}]
        message = await stored_answer(app, person)
        assert (message.status, message.error_code) == ("failed", "schema_not_satisfied")
        assert (message.structured_data, message.schema_validation_passed) == (None, False)
        assert message.models_attempted == [GPT, MINI, SONNET]
        await assert_books_are_right(app, person, openrouter, lost=4, charged=False)

    async def test_the_last_of_three_models_saves_the_turn(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("json_shape", params={"shape": "cut"}, model=GPT)
        openrouter.fault("upstream_404", model=MINI)
        answer = (await ask(person, model=GPT, fallback_models=[MINI, SONNET])).json()

        jsonschema_rs.validate(RATING, answer["structured_data"])
        assert (answer["outcome"], answer["models_attempted"]) == ("valid", [GPT, MINI, SONNET])
        await assert_books_are_right(app, person, openrouter, lost=2)

    async def test_never_more_than_five_calls(self, person: Person, openrouter: EmulatorProcess) -> None:
        openrouter.fault("json_shape", params={"shape": "mismatch"})
        chain = [MINI, SONNET, "google/gemini-2.5-flash"]
        answer = await ask(person, model=GPT, fallback_models=chain)

        assert (answer.status_code, answer.json()["reason"]) == (502, "schema_not_satisfied")
        assert [each["model"] for each in bodies(openrouter)] == [GPT, GPT, MINI, MINI, SONNET]

    async def test_no_answer_at_all_is_told_as_for_any_question(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("upstream_400")
        answer = await ask(person, model=GPT)

        assert (answer.status_code, answer.json().get("error")) == (502, "upstream_failed")
        assert "misfits" not in answer.json()


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


def doubling(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": defs | {f"d{levels}": {}}, "$ref": "#/$defs/d0"}


class TestSchemasThatAreRefused:
    @pytest.mark.parametrize(
        ("schema", "place"),
        [
            ({"description": "a" * 40_000}, "at /: takes 40,018 bytes"),
            (nested(17), "at /properties/a/properties/a"),
            (nested(200), "nested deeper than 32 levels"),
            ({"properties": {"a": {"type": "strin"}}}, "at /properties/a/type"),
            ({"properties": {"a/b": {"enum": 1}}}, "at /properties/a~1b/enum"),
            ({"items": {"pattern": "("}}, "at /items/pattern"),
            ({"items": {"pattern": "(?=a)a"}}, "at /items/pattern"),
            ({"items": {"pattern": "((a{100}){100}){100}"}}, "at /items/pattern"),
            ({"patternProperties": {"(": {}}}, "at /patternProperties/("),
            ({"items": {"$ref": "http://127.0.0.1:9/schema.json"}}, "at /items/$ref: leads out"),
            ({"items": {"$ref": "file:///etc/passwd"}}, "at /items/$ref"),
            ({"$id": "http://127.0.0.1:9/", "items": {"$ref": "other.json"}}, "at /items/$ref"),
            ({"items": {"$ref": "#/$defs/nothing"}}, "at /items/$ref"),
            ({"$ref": "#"}, "without end"),
            ({"$dynamicRef": "#node"}, "at /$dynamicRef"),
            ({"$schema": "http://json-schema.org/draft-07/schema#"}, "at /$schema"),
            (doubling(28), "at /: applies so many schemas"),
            ({"title": "a\u0000b"}, "at /title"),
            ({"properties": {f"p{n}": {"pattern": f"^{n}$"} for n in range(101)}}, "at /: has 101 patterns"),
            ([], "response_schema"),
            (True, "response_schema"),
            (None, "response_schema"),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_each_is_a_422_that_names_the_place_and_leaves_nothing(
        self, shared_app: ServedApp, openrouter: EmulatorProcess, join_app: Join, schema: Any, place: str
    ) -> None:
        person = await join_app(shared_app)
        conversation_id = await person.begin()
        began = time.process_time()
        answer = await ask(person, schema, conversation_id=conversation_id, key="a key")

        assert time.process_time() - began < 2
        assert (answer.status_code, answer.json().get("error")) == (422, "validation_error")
        assert answer.json()["fields"][0]["field"] == "response_schema"
        assert place in answer.json()["detail"]
        assert (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"] == []
        assert openrouter.questions() == []
        usage = await person.usage()
        assert (usage["messages"]["used"], usage["messages"]["reserved"]) == (0, 0)

    @pytest.mark.parametrize("text", ['{"minimum": NaN}', '{"minimum": 1e999}'])
    async def test_numbers_that_are_none(self, shared_app: ServedApp, join_app: Join, text: str) -> None:
        person = await join_app(shared_app)
        body = f'{{"conversation_id": "{await person.begin()}", "message": "?", "response_schema": {text}}}'
        answer = await person.http.post(PATH, content=body, headers={"Content-Type": "application/json"})

        assert (answer.status_code, answer.json().get("error")) == (422, "validation_error")
        assert "at /minimum" in answer.json()["detail"]

    async def test_a_pattern_made_to_hang_takes_no_time(self, person: Person, openrouter: EmulatorProcess) -> None:
        openrouter.fault("long_answer", params={"tokens": 3_000})
        began = time.process_time()
        answer = await ask(person, {"type": "string", "pattern": '^(([a-z \\n."])+.)+$'}, model=GPT, max_tokens=8_000)

        assert answer.status_code == 502
        assert time.process_time() - began < 5

    async def test_a_model_that_cannot_answer_by_a_schema_is_refused_by_name(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        unable = next(each.id for each in app.services.models.list_models() if not each.features.structured_outputs)
        answer = await ask(person, model=unable)

        assert answer.status_code == 422
        assert answer.json()["fields"][0]["field"] == "model"
        assert "cannot answer by a schema" in answer.json()["detail"]
        assert bodies(openrouter) == []

    async def test_a_fallback_that_cannot_is_left_out_and_told(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        unable = next(each.id for each in app.services.models.list_models() if not each.features.structured_outputs)
        openrouter.fault("upstream_400", model=GPT)
        answer = (await ask(person, model=GPT, fallback_models=[unable, MINI])).json()

        assert answer["models_attempted"] == [GPT, MINI]
        assert f"{unable!r} cannot answer by a schema and was left out." in answer["notes"]

    async def test_switched_off(self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess) -> None:
        person = await join_app(await serve_app(structured_outputs_enabled=False), plan=PlanTier.PREMIUM)
        answer = await ask(person)

        assert (answer.status_code, answer.json().get("error")) == (503, "feature_disabled")
        assert answer.json()["feature"] == "structured_outputs"
        assert bodies(openrouter) == []
        assert (await person.chat(await person.begin())).status_code == 200


def grows(before: Any, after: Any) -> bool:
    """Nothing that was told is taken back: keys stay, texts and lists get longer."""
    if isinstance(before, dict):
        return all(name in after and grows(value, after[name]) for name, value in before.items())
    if isinstance(before, list):
        return len(before) <= len(after) and all(map(grows, before, after))
    return str(after).startswith(str(before)) if isinstance(before, str) else True


class TestStreams:
    async def test_the_data_grows_and_the_last_event_says_whether_it_fits(
        self, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.configure(tokens_per_second=200, generation_delay=0)
        events = await stream(person, CLOSED, model=GPT)

        partials = [each.data["partial"] for each in events if each.name == "structured.delta"]
        assert len(partials) > 2
        assert all(each != other and grows(each, other) for each, other in pairwise(partials))
        assert "content.delta" not in {each.name for each in events}
        last = events[-1]
        assert last.name == "message.completed"
        assert (last.data["schema_validation_passed"], last.data["outcome"]) == (True, "valid")
        jsonschema_rs.validate(CLOSED, last.data["structured_data"])
        assert grows(partials[-1], last.data["structured_data"])

    @pytest.mark.parametrize(("fallbacks", "outcome"), [([], "repaired"), ([MINI], "valid")])
    async def test_what_was_shown_is_void_when_it_is_mended_or_another_model_answers(
        self, person: Person, openrouter: EmulatorProcess, fallbacks: list[str], outcome: str
    ) -> None:
        openrouter.fault("json_shape", params={"shape": "mismatch"}, model=GPT, times=2 if fallbacks else 1)
        events = await stream(person, model=GPT, fallback_models=fallbacks)

        names = [each.name for each in events]
        assert names.count("content.reset") == (2 if fallbacks else 1)
        resets = [each.data["reason"] for each in events if each.name == "content.reset"]
        assert set(resets) == {"schema_not_satisfied"}
        behind = events[len(names) - names[::-1].index("content.reset") :]
        assert any(each.name == "structured.delta" for each in behind)
        assert all("unexpected" not in str(each.data) for each in behind)
        assert (events[-1].name, events[-1].data["outcome"]) == ("message.completed", outcome)

    async def test_a_failed_stream_ends_with_what_was_wrong(self, person: Person, openrouter: EmulatorProcess) -> None:
        openrouter.fault("json_shape", params={"shape": "mismatch"})
        last = (await stream(person, model=GPT))[-1]

        assert (last.name, last.data["error"]) == ("message.failed", "schema_not_satisfied")
        assert {"place": "/", "message": '"rating" is a required property'} in last.data["misfits"]
        assert len(last.data["attempts"]) == 2

    async def test_a_stopped_answer_is_not_passed_off_as_data(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.configure(tokens_per_second=10, generation_delay=0)
        body = {"conversation_id": await person.begin(), "message": "?", "stream": True, "model": GPT}
        text, stopping = "", None
        async with person.http.stream("POST", PATH, json=body | {"response_schema": CLOSED}) as answer:
            async for piece in answer.aiter_text():
                text += piece
                if stopping is None and "structured.delta" in text:
                    message_id = parse_events(text[: text.rindex("\n\n")])[0].data["message_id"]
                    stop = f"/api/v1/chat/messages/{message_id}/stop"
                    stopping = asyncio.create_task(person.http.post(stop))
        assert stopping is not None
        await stopping
        last = parse_events(text)[-1]

        assert last.name == "message.stopped"
        told = (last.data["structured_data"], last.data["schema_validation_passed"], last.data["outcome"])
        assert told == (None, False, None)
        message = await stored_answer(app, person)
        assert (message.structured_data, message.response_schema) == (None, CLOSED)


class TestTheSameMachinery:
    async def test_a_repeated_request_gets_the_same_data_charged_once(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        body = {"conversation_id": conversation_id, "key": "once", "model": GPT}
        first = (await ask(person, **body)).json()
        app.services.chat._hub._logs.clear()  # as if it had been long ago
        second = (await ask(person, **body)).json()
        streamed = parse_events((await ask(person, **body, stream=True)).text)
        plain = await person.http.post(
            "/api/v1/chat",
            json={"conversation_id": conversation_id, "message": "Rate this", "model": GPT},
            headers={"Idempotency-Key": "once"},
        )

        assert second == first
        assert streamed[-1].data == first
        assert [each.data["partial"] for each in streamed if each.name == "structured.delta"] == [
            first["structured_data"]
        ]
        assert (plain.status_code, plain.json().get("error")) == (409, "idempotency_key_reused")
        await assert_books_are_right(app, person, openrouter, lost=0)

    async def test_who_comes_late_reads_the_data_from_the_stored_message(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("json_shape", params={"shape": "fenced"})
        answer = (await ask(person, model=GPT)).json()
        app.services.chat._hub._logs.clear()
        late = await person.http.get(f"/api/v1/chat/messages/{answer['message_id']}/stream")

        (last,) = parse_events(late.text)
        for name in ("structured_data", "schema_validation_passed", "outcome"):
            assert last.data[name] == answer[name]

    async def test_the_free_plan_has_it_within_its_limits(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        answer = await ask(person)

        assert answer.status_code == 200
        jsonschema_rs.validate(RATING, answer.json()["structured_data"])
        refused = await ask(person, model=SONNET)
        assert (refused.status_code, refused.json().get("error")) == (403, "feature_not_available")
        await assert_books_are_right(app, person, openrouter, lost=0)
