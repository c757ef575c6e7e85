"""What people, broken clients and fuzzers send: each refusal has its status, one shape, and gives nothing away."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from app.core.ids import new_id
from app.domain.plans import PlanTier
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import PASSWORD, Person
from tests.support.served import ServedApp, make_settings, serve

pytestmark = pytest.mark.anyio
CHAT = "/api/v1/chat"
ANY_ID = str(UUID(int=7))
JSON = {"Content-Type": "application/json"}


def assert_refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The one shape every error has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-ID"]
    body: dict[str, Any] = answer.json()
    assert body["error"] == code
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert "Traceback" not in answer.text
    return body


def assert_names(answer: httpx2.Response, *fields: str) -> None:
    """A 422 that says which fields are wrong, each in words."""
    body = assert_refused(answer, 422, "validation_error")
    assert {each["field"] for each in body["fields"]} == set(fields)
    assert all(each["message"] for each in body["fields"])


async def send(person: Person, content: bytes, *, url: str = CHAT) -> httpx2.Response:
    return await person.http.post(url, content=content, headers=JSON)


async def usage_and_requests(person: Person, openrouter: EmulatorProcess) -> tuple[Any, int]:
    return (await person.usage())["messages"], len(openrouter.questions())


# bodies that are not JSON, or not ours


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"message": }',
        b"not json",
        b'{"message": "a" "b"}',
        b'{"a": 1}' + b"}" * 5,
        b'{"message": "\t"',
    ],
    ids=lambda content: repr(content[:20]),
)
async def test_broken_json_is_a_bad_request(person: Person, content: bytes) -> None:
    body = assert_refused(await send(person, content), 400, "invalid_json")
    assert "JSON" in body["detail"]


@pytest.mark.parametrize(
    "content",
    [b'{"message": "\xff\xfe"}', b"\xff", b"[" * 100_000, b'{"max_tokens": ' + b"9" * 5_000 + b"}"],
    ids=lambda content: repr(content[:20]),
)
async def test_a_body_no_reader_gets_through_is_a_bad_request(person: Person, content: bytes) -> None:
    assert_refused(await send(person, content), 400, "bad_request")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"hello"', b"7", b"true", b"NaN"])
async def test_json_that_is_no_object_is_refused(person: Person, content: bytes) -> None:
    assert_names(await send(person, content), "body")


async def test_json_that_is_not_called_json_is_refused(person: Person) -> None:
    answer = await person.http.post(CHAT, content=b'{"message": "hello"}', headers={"Content-Type": "text/plain"})
    assert_names(answer, "body")


async def test_an_empty_object_lacks_every_required_field(person: Person) -> None:
    assert_names(await send(person, b"{}"), "conversation_id", "message")


async def test_all_wrong_fields_are_told_at_once(person: Person) -> None:
    answer = await person.chat(ANY_ID, "", temperature=9, stream="yes", nonsense=1)
    assert_names(answer, "message", "temperature", "stream", "nonsense")


@pytest.mark.parametrize("name", [r"\ud800", r"\u0000", "ﷺ", r"\ud83d\udd4c", "__proto__", "messages", " message"])
async def test_an_unknown_field_is_named_whatever_it_is_called(person: Person, name: str) -> None:
    content = f'{{"conversation_id": "{ANY_ID}", "message": "hello", "{name}": 1}}'
    body = assert_refused(await send(person, content.encode()), 422, "validation_error")
    assert len(body["fields"]) == 1


async def test_what_was_sent_is_not_repeated(http: httpx2.AsyncClient) -> None:
    account = {"email": "somebody@example.com", "password": {"secret": "hunter2-hunter2"}, "full_name": 7}
    answer = await http.post("/api/v1/auth/register", json=account)

    assert_names(answer, "password", "full_name")
    assert "hunter2" not in answer.text


# fields of a question


@pytest.fixture
async def subscriber(app: ServedApp, join_app: Join) -> Person:
    """Somebody whose plan leaves every model and a long context open."""
    return await join_app(app, plan=PlanTier.PREMIUM)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message", ""),
        ("message", " \n\t"),
        ("message", None),
        ("message", 7),
        ("message", True),
        ("message", ["hello"]),
        ("message", {"text": "hello"}),
        ("message", "a\x00b"),
        ("message", "\ud800"),
        ("message", "x" * 32_001),
        ("conversation_id", "7"),
        ("conversation_id", 7),
        ("conversation_id", None),
        ("conversation_id", "\ud800"),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "0.7"),
        ("temperature", True),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 1_000_001),
        ("max_tokens", 10**30),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_tokens", "4096"),
        ("stream", 1),
        ("stream", "true"),
        ("enable_caching", "yes"),
        ("enable_caching", None),
        ("model", ""),
        ("model", 7),
        ("model", "m" * 201),
        ("model", "no-such/model"),
        ("model", "a\x00b"),
        ("fallback_models", "openai/gpt-4o"),
        ("fallback_models", ["openai/gpt-4o", "no-such/model"]),
        ("fallback_models", ["openai/gpt-4o"] * 11),
        ("preset_id", "7"),
        ("context", {"text": "a"}),
        ("context", [{"text": "a"}] * 21),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_a_wrong_field_of_a_question_is_named(subscriber: Person, field: str, value: Any) -> None:
    question = {"conversation_id": await subscriber.begin(), "message": "What is Salah?", field: value}
    body = assert_refused(await send(subscriber, json.dumps(question).encode()), 422, "validation_error")
    assert {each["field"].split(".")[0] for each in body["fields"]} == {field}


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400"])
async def test_a_number_that_is_none_is_refused(person: Person, number: bytes) -> None:
    content = b'{"conversation_id": "%s", "message": "a", "temperature": %s}' % (ANY_ID.encode(), number)
    assert_names(await send(person, content), "temperature")


@pytest.mark.parametrize("document", [{}, {"text": " "}, {"text": "a", "url": "b"}, {"text": "a", "title": 7}, "a"])
async def test_a_wrong_document_is_named_by_its_place(person: Person, document: Any) -> None:
    answer = await person.chat(await person.begin(), context=[{"text": "fine"}, document])

    body = assert_refused(answer, 422, "validation_error")
    assert body["fields"][0]["field"].startswith("context.1")


async def test_the_longest_message_is_taken(subscriber: Person) -> None:
    answer = await subscriber.chat(await subscriber.begin(), "م" * 32_000, max_tokens=1)
    assert answer.status_code == 200, answer.text


async def test_refused_questions_cost_nothing_and_ask_nobody(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    before = await usage_and_requests(person, openrouter)

    for wrong in ({"message": ""}, {"model": "no-such/model"}, {"temperature": 3}, {"preset_id": str(new_id())}):
        assert (await person.chat(conversation_id, **({"message": "hello"} | wrong))).is_client_error

    assert await usage_and_requests(person, openrouter) == before
    detail = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()
    assert detail["messages"] == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_plain_json_even_when_a_stream_was_asked_for(person: Person, stream: bool) -> None:
    answer = await person.chat(str(new_id()), stream=stream)
    assert_refused(answer, 404, "not_found")


async def test_an_unknown_preset_is_not_found(person: Person) -> None:
    answer = await person.chat(await person.begin(), preset_id=str(new_id()))
    body = assert_refused(answer, 404, "not_found")
    assert "preset" in body["detail"]


# size


@pytest.fixture
async def small_app(serve_app: Serve) -> ServedApp:
    """Takes bodies of at most 2 KiB."""
    return await serve_app(max_body_bytes=2_048)


def padded(size: int) -> bytes:
    """A registration of exactly ``size`` bytes."""
    head = b'{"email": "big@example.com", "password": "%s"' % PASSWORD.encode()
    return head + b" " * (size - len(head) - 1) + b"}"


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 500):
        yield content[start : start + 500]


async def test_a_body_over_the_limit_is_refused_by_its_declared_length(small_app: ServedApp) -> None:
    async with small_app.client() as http:
        answer = await http.post("/api/v1/auth/register", content=padded(2_049), headers=JSON)
    assert_refused(answer, 413, "body_too_large")


async def test_a_body_declared_too_long_is_refused_before_it_is_sent(small_app: ServedApp) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(small_app.url.rpartition(":")[2]))
    writer.write(b"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
    async with asyncio.timeout(5):
        status = await reader.readline()
    writer.close()

    assert b" 413 " in status


async def test_a_body_over_the_limit_is_refused_when_it_comes_in_pieces(small_app: ServedApp) -> None:
    async with small_app.client() as http:
        answer = await http.post("/api/v1/auth/register", content=in_pieces(padded(4_000)), headers=JSON)
    assert_refused(answer, 413, "body_too_large")


async def test_a_form_over_the_limit_is_refused_too(small_app: ServedApp) -> None:
    async with small_app.client() as http:
        answer = await http.post("/api/v1/auth/login", data={"username": "a@example.com", "password": "x" * 3_000})
    assert_refused(answer, 413, "body_too_large")


async def test_a_body_of_just_the_limit_is_taken(small_app: ServedApp) -> None:
    async with small_app.client() as http:
        answer = await http.post("/api/v1/auth/register", content=in_pieces(padded(2_048)), headers=JSON)
    assert answer.status_code == 201, answer.text


# routes and verbs


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1/nothing", "/api/v1/chat/", "/api/v2/chat", "/%00", "/é", "/.env"]
)
async def test_an_unknown_route_is_not_found(person: Person, path: str) -> None:
    assert_refused(await person.http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("GET", CHAT, {"POST"}),
        ("DELETE", "/api/v1/presets", {"GET", "POST"}),
        ("PUT", f"/api/v1/conversations/{ANY_ID}", {"GET", "PATCH", "DELETE"}),
        ("TRACE", "/health/live", {"GET"}),
    ],
)
async def test_a_wrong_verb_is_refused_with_a_right_one(
    person: Person, verb: str, path: str, allowed: set[str]
) -> None:
    answer = await person.http.request(verb, path)
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] in allowed


async def test_a_refusal_without_a_token_comes_before_the_body_is_judged(http: httpx2.AsyncClient) -> None:
    answer = await http.post(CHAT, json={"nonsense": True})
    assert_refused(answer, 401, "unauthenticated")


# crashes


@pytest.fixture
async def broken_app(empty_database_url: str, tmp_path: Path, openrouter: EmulatorProcess) -> AsyncIterator[ServedApp]:
    """An app on a database without tables."""
    settings = make_settings(
        database_url=empty_database_url, data_dir=tmp_path, openrouter_url=openrouter.base_url, log_level="ERROR"
    )
    async with serve(settings) as app:
        yield app


async def test_a_crash_says_sorry_and_names_the_request(broken_app: ServedApp) -> None:
    async with broken_app.client() as http:
        answer = await http.post(
            "/api/v1/auth/register",
            json={"email": "a@example.com", "password": PASSWORD},
            headers={"X-Request-ID": "tell-me"},
        )

    body = assert_refused(answer, 500, "internal_error")
    assert set(body) == {"error", "detail", "request_id"}
    assert body["request_id"] == answer.headers["X-Request-ID"] == "tell-me"
    assert not re.search(r"users|sqlite|asyncpg|\.py|SELECT|INSERT", answer.text)


async def test_an_app_without_tables_lives_but_is_not_ready(broken_app: ServedApp) -> None:
    async with broken_app.client() as http:
        assert (await http.get("/health/live")).json() == {"status": "ok"}
        body = assert_refused(await http.get("/health/ready"), 503, "not_ready")
    assert "alembic upgrade head" in body["detail"]


async def test_an_app_goes_on_serving_after_a_crash(broken_app: ServedApp) -> None:
    async with broken_app.client() as http:
        for _ in range(15):
            assert (await http.get("/api/v1/subscriptions/plans")).status_code == 500
        assert (await http.get("/health/live")).status_code == 200


# request ids


@pytest.mark.parametrize("request_id", ["a", "trace-1.2:3_4", "A" * 128, "0b5e7f3a-8a51-4a53-a60b-9b5c22f0d9f1"])
async def test_a_sane_request_id_comes_back(http: httpx2.AsyncClient, request_id: str) -> None:
    answer = await http.get("/health/live", headers={"X-Request-ID": request_id})
    assert answer.headers["X-Request-ID"] == request_id


@pytest.mark.parametrize("request_id", [b"", b"a b", b"A" * 129, b"<script>", b"\xe9", b'"', b"a;b", b"{}"])
async def test_a_request_id_that_is_not_sane_is_replaced(http: httpx2.AsyncClient, request_id: bytes) -> None:
    answer = await http.get("/health/live", headers={"X-Request-ID": request_id})
    assert UUID(answer.headers["X-Request-ID"]).version == 7


async def test_each_request_without_an_id_gets_one_of_its_own(http: httpx2.AsyncClient) -> None:
    ids = {(await http.get("/health/live")).headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3


async def test_refusals_of_every_kind_carry_the_request_id(http: httpx2.AsyncClient, person: Person) -> None:
    headers = {"X-Request-ID": "follow-me"}
    answers = [
        await http.get("/nowhere", headers=headers),
        await http.get("/api/v1/auth/me", headers=headers),
        await http.put("/api/v1/auth/me", headers=headers),
        await person.http.post(CHAT, content=b"{", headers=JSON | headers),
        await person.http.post(CHAT, json={}, headers=headers),
    ]

    assert [each.status_code for each in answers] == [404, 401, 405, 400, 422]
    assert {each.headers["X-Request-ID"] for each in answers} == {"follow-me"}
