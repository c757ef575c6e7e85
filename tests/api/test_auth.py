"""Accounts over HTTP: register, log in, stay logged in, log out; and who is let in where."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from joserfc import jwt
from joserfc.jwk import OctKey
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import select, update

from app.api.deps import AdminUser
from app.api.errors import install_error_handlers
from app.core.ids import new_id
from app.core.security import RefreshToken
from app.db.models import RefreshTokenRow, User
from app.domain.principal import Role
from app.main import create_app
from tests.conftest import Join, Serve
from tests.support.accounts import PASSWORD, Person
from tests.support.served import TEST_JWT_SECRET, ServedApp

pytestmark = pytest.mark.anyio

OPEN_ROUTES = {
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
    "GET /api/v1/subscriptions/plans",
    "GET /health/live",
    "GET /health/ready",
    "GET /docs",
    "GET /docs/oauth2-redirect",
    "GET /openapi.json",
    "GET /static-offline-docs",
}
"""All that is open without a token."""


class Watch:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)


def make_account(**changes: Any) -> dict[str, Any]:
    return {"email": f"{uuid4().hex}@example.com", "password": PASSWORD, **changes}


def make_token(user_id: UUID, *, secret: str = TEST_JWT_SECRET, alg: str = "HS256", **changes: Any) -> str:
    """An access token like ours; a claim given as ``None`` is left out."""
    now = int(datetime.now(UTC).timestamp())
    ours = {"iss": "wisqu", "aud": "wisqu-api", "sub": str(user_id), "iat": now, "exp": now + 60, "typ": "access"}
    claims = {name: value for name, value in (ours | changes).items() if value is not None}
    return jwt.encode({"alg": alg}, claims, OctKey.import_key(secret), algorithms=[alg])


async def login(http: httpx2.AsyncClient, email: str, password: str = PASSWORD) -> httpx2.Response:
    return await http.post("/api/v1/auth/login", data={"username": email, "password": password})


async def refresh(http: httpx2.AsyncClient, tokens: dict[str, Any]) -> httpx2.Response:
    return await http.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


async def read_me(http: httpx2.AsyncClient, access_token: str) -> httpx2.Response:
    return await http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access_token}"})


async def switch_off(app: ServedApp, user_id: UUID) -> None:
    async with app.services.database.unit_of_work() as uow:
        await uow._session.execute(update(User).where(User.id == user_id).values(is_active=False))
        await uow.commit()


def assert_unauthenticated(answer: httpx2.Response, *, code: str = "unauthenticated") -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"] == code
    assert set(answer.json()) == {"error", "detail"}


# registering


async def test_registering_answers_with_the_account_and_no_secret(http: httpx2.AsyncClient) -> None:
    account = make_account(full_name="Fatima al-Fihri")
    answer = await http.post("/api/v1/auth/register", json=account)

    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"id", "email", "full_name", "handle", "role", "created_at"}
    assert (body["email"], body["full_name"], body["role"]) == (account["email"], "Fatima al-Fihri", "user")


async def test_a_new_account_is_on_the_free_plan(http: httpx2.AsyncClient) -> None:
    account = make_account()
    await http.post("/api/v1/auth/register", json=account)
    token = (await login(http, account["email"])).json()["access_token"]

    answer = await http.get("/api/v1/subscriptions/me", headers={"Authorization": f"Bearer {token}"})
    assert (answer.json()["plan"], answer.json()["status"]) == ("free", "active")


async def test_an_e_mail_address_is_one_whatever_its_case(http: httpx2.AsyncClient) -> None:
    name = uuid4().hex
    registered = await http.post("/api/v1/auth/register", json=make_account(email=f"Bilal.{name}@Example.COM"))

    assert registered.json()["email"] == f"bilal.{name}@example.com"
    assert (await login(http, f"BILAL.{name}@example.com")).status_code == 200
    assert (await http.post("/api/v1/auth/register", json=make_account(email=f"bilal.{name}@EXAMPLE.com"))).is_error


@pytest.mark.parametrize("domain", ["bücher.example.com", "xn--bcher-kva.example.com", "bu\u0308cher.example.com"])
async def test_an_e_mail_address_is_one_however_it_is_written(http: httpx2.AsyncClient, domain: str) -> None:
    name = uuid4().hex
    await http.post("/api/v1/auth/register", json=make_account(email=f"{name}@bücher.example.com"))

    assert (await login(http, f"{name}@{domain}")).status_code == 200


async def test_a_taken_e_mail_address_is_a_conflict(http: httpx2.AsyncClient) -> None:
    account = make_account()
    await http.post("/api/v1/auth/register", json=account)
    answer = await http.post("/api/v1/auth/register", json=account)

    assert answer.status_code == 409
    assert answer.json()["error"] == "email_taken"


async def test_of_parallel_registrations_of_one_address_one_succeeds(http: httpx2.AsyncClient) -> None:
    account = make_account()
    answers = await asyncio.gather(*(http.post("/api/v1/auth/register", json=account) for _ in range(8)))

    assert Counter(each.status_code for each in answers) == {201: 1, 409: 7}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", f"{'a' * 250}@example.com"),
        ("email", "a\x00b@example.com"),
        ("password", "short"),
        ("password", "x" * 129),
        ("password", "nul\x00nul\x00"),
        ("full_name", "  "),
        ("full_name", "n" * 201),
    ],
)
async def test_a_wrong_field_is_named_and_its_value_not_repeated(
    http: httpx2.AsyncClient, field: str, value: str
) -> None:
    answer = await http.post("/api/v1/auth/register", json=make_account(**{field: value}))

    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["fields"]] == [field]
    assert value not in answer.text or not value.strip()


async def test_nobody_registers_as_an_administrator(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/v1/auth/register", json=make_account(role="admin"))

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "role"


# logging in


async def test_logging_in_takes_a_form_and_gives_a_pair_of_tokens(person: Person, http: httpx2.AsyncClient) -> None:
    answer = await http.post(
        "/api/v1/auth/login", data={"grant_type": "password", "username": person.email, "password": PASSWORD}
    )

    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 15 * 60)
    assert (await read_me(http, body["access_token"])).json()["id"] == str(person.user_id)


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The outcome of every Argon2 comparison that is made."""
    seen: list[bool] = []
    verify = Argon2Hasher.verify

    def watch(hasher: Argon2Hasher, password: str | bytes, stored: str | bytes) -> bool:
        seen.append(verify(hasher, password, stored))
        return seen[-1]

    monkeypatch.setattr(Argon2Hasher, "verify", watch)
    return seen


async def test_a_wrong_password_and_an_unknown_address_are_refused_alike(
    person: Person, http: httpx2.AsyncClient, verifications: list[bool]
) -> None:
    wrong = await login(http, person.email, "not the password")
    unknown = await login(http, "nobody@example.com", "not the password")

    assert_unauthenticated(wrong, code="invalid_credentials")
    assert unknown.json() == wrong.json()
    assert unknown.status_code == wrong.status_code
    assert verifications == [False, False]


async def test_a_switched_off_account_is_refused_like_a_wrong_password(
    app: ServedApp, person: Person, http: httpx2.AsyncClient, verifications: list[bool]
) -> None:
    wrong = await login(http, person.email, "not the password")
    await switch_off(app, person.user_id)

    answer = await login(http, person.email)
    assert (answer.status_code, answer.json()) == (401, wrong.json())
    assert verifications == [False, True]


@pytest.mark.parametrize("email", ["a\x00b@example.com", "@", "a@b@c", "x" * 5_000, "ﷺ@", "a@xn--\u0600"])
async def test_an_impossible_address_is_an_unknown_one(http: httpx2.AsyncClient, email: str) -> None:
    assert_unauthenticated(await login(http, email), code="invalid_credentials")


async def test_logging_in_with_json_names_the_missing_form_fields(person: Person, http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/v1/auth/login", json={"username": person.email, "password": PASSWORD})

    assert answer.status_code == 422
    assert {each["field"] for each in answer.json()["fields"]} >= {"username", "password"}


# staying logged in


async def test_refreshing_gives_a_new_pair_and_spends_the_old_one(person: Person, http: httpx2.AsyncClient) -> None:
    answer = await refresh(http, person.tokens)

    assert answer.status_code == 200
    fresh = answer.json()
    assert fresh["refresh_token"] != person.tokens["refresh_token"]
    assert (await read_me(http, fresh["access_token"])).status_code == 200
    assert (await refresh(http, fresh)).status_code == 200


async def test_a_replayed_refresh_token_ends_the_whole_session(person: Person, http: httpx2.AsyncClient) -> None:
    newest = (await refresh(http, person.tokens)).json()

    assert_unauthenticated(await refresh(http, person.tokens))
    assert_unauthenticated(await refresh(http, newest))


async def test_a_replayed_refresh_token_leaves_other_sessions_alone(person: Person, http: httpx2.AsyncClient) -> None:
    elsewhere = (await login(http, person.email)).json()
    await refresh(http, person.tokens)
    await refresh(http, person.tokens)

    assert (await refresh(http, elsewhere)).status_code == 200


async def test_of_parallel_refreshes_with_one_token_one_wins(person: Person, http: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(refresh(http, person.tokens) for _ in range(8)))

    assert Counter(each.status_code for each in answers) == {200: 1, 401: 7}


async def test_a_replay_during_a_refresh_leaves_no_live_token(
    app: ServedApp, person: Person, http: httpx2.AsyncClient
) -> None:
    for _ in range(12):
        old = (await login(http, person.email)).json()
        current = (await refresh(http, old)).json()
        await asyncio.gather(refresh(http, current), refresh(http, old))

    async with app.services.database.read_only() as uow:
        first = RefreshToken.parse(person.tokens["refresh_token"])
        assert first is not None
        live = select(RefreshTokenRow.id).where(
            RefreshTokenRow.user_id == person.user_id,
            RefreshTokenRow.id != first.token_id,
            RefreshTokenRow.revoked_at.is_(None),
        )
        assert (await uow._session.scalars(live)).all() == []


async def test_an_expired_refresh_token_is_refused(serve_app: Serve, join_app: Join) -> None:
    watch = Watch()
    person = await join_app(await serve_app(clock=watch, refresh_token_days=7))

    watch.advance(days=7)
    assert_unauthenticated(await refresh(person.http, person.tokens))


async def test_a_refresh_token_lives_until_its_last_second(serve_app: Serve, join_app: Join) -> None:
    watch = Watch()
    person = await join_app(await serve_app(clock=watch, refresh_token_days=7))

    watch.advance(days=7, seconds=-1)
    assert (await refresh(person.http, person.tokens)).status_code == 200


@pytest.mark.parametrize(
    "token",
    [
        "garbage",
        "a.b.c",
        f"{UUID(int=1).hex}.{UUID(int=2).hex}.secret",
        "....",
        "x" * 500,
    ],
)
async def test_a_refresh_token_that_is_none_of_ours_is_refused(http: httpx2.AsyncClient, token: str) -> None:
    assert_unauthenticated(await refresh(http, {"refresh_token": token}))


async def test_a_refresh_token_with_another_secret_is_refused_and_harms_nobody(
    person: Person, http: httpx2.AsyncClient
) -> None:
    forged = person.tokens["refresh_token"][:-4] + "AAAA"

    assert_unauthenticated(await refresh(http, {"refresh_token": forged}))
    assert (await refresh(http, person.tokens)).status_code == 200


async def test_a_switched_off_account_cannot_refresh(app: ServedApp, person: Person, http: httpx2.AsyncClient) -> None:
    await switch_off(app, person.user_id)

    assert_unauthenticated(await refresh(http, person.tokens))


async def test_logging_out_ends_the_session_with_all_its_tokens(person: Person) -> None:
    newest = (await refresh(person.http, person.tokens)).json()
    answer = await person.http.post("/api/v1/auth/logout", json={"refresh_token": newest["refresh_token"]})

    assert (answer.status_code, answer.content) == (204, b"")
    assert_unauthenticated(await refresh(person.http, newest))


async def test_logging_out_twice_or_with_garbage_does_no_harm(person: Person) -> None:
    for token in (person.tokens["refresh_token"], person.tokens["refresh_token"], "garbage"):
        answer = await person.http.post("/api/v1/auth/logout", json={"refresh_token": token})
        assert answer.status_code == 204


async def test_a_new_password_ends_every_session(app: ServedApp, person: Person, http: httpx2.AsyncClient) -> None:
    await app.services.auth.set_password(email=person.email.upper(), password="another long password")

    assert_unauthenticated(await refresh(http, person.tokens))
    assert_unauthenticated(await login(http, person.email), code="invalid_credentials")
    assert (await login(http, person.email, "another long password")).status_code == 200


# access tokens


async def test_me_is_the_account_behind_the_token(person: Person) -> None:
    answer = await person.http.get("/api/v1/auth/me")

    told = {"id": str(person.user_id), "email": person.email, "full_name": None, "handle": None, "role": "user"}
    assert answer.json() == told


async def test_our_own_token_is_what_the_refused_ones_are_made_from(person: Person, http: httpx2.AsyncClient) -> None:
    assert (await read_me(http, make_token(person.user_id))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exp": 1}, id="expired"),
        pytest.param({"exp": None}, id="never expires"),
        pytest.param({"exp": "tomorrow"}, id="expires in words"),
        pytest.param({"secret": "somebody else's secret, just as long"}, id="foreign-signed"),
        pytest.param({"alg": "HS512"}, id="another algorithm"),
        pytest.param({"aud": "another-api"}, id="wrong audience"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"iss": "another-house"}, id="wrong issuer"),
        pytest.param({"iss": None}, id="no issuer"),
        pytest.param({"typ": "refresh"}, id="wrong type"),
        pytest.param({"typ": None}, id="no type"),
        pytest.param({"sub": "nobody"}, id="no account id"),
        pytest.param({"sub": 7}, id="number for an account id"),
        pytest.param({"sub": None}, id="no subject"),
        pytest.param({"nbf": 32_503_680_000}, id="not yet valid"),
    ],
)
async def test_a_token_that_is_not_quite_ours_is_refused(
    person: Person, http: httpx2.AsyncClient, changes: dict[str, Any]
) -> None:
    assert_unauthenticated(await read_me(http, make_token(person.user_id, **changes)))


async def test_an_unsigned_token_is_refused(person: Person, http: httpx2.AsyncClient) -> None:
    _, claims, _ = make_token(person.user_id).split(".")
    for header in ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIiwidHlwIjoiSldUIn0"):  # none, None
        assert_unauthenticated(await read_me(http, f"{header}.{claims}."))


DEEP_HEADER = "W1tb" * 10_000  # base64 of a great many opening brackets


@pytest.mark.parametrize(
    "token", ["garbage", "a.b", "a.b.c", "a.b.c.d.e", "....", "W10.W10.W10", f"{DEEP_HEADER}.e30.AAAA", "\xfe\xff"]
)
async def test_garbage_for_a_token_is_refused(http: httpx2.AsyncClient, token: str) -> None:
    answer = await http.get("/api/v1/auth/me", headers={"Authorization": b"Bearer " + token.encode("latin-1")})
    assert_unauthenticated(answer)


@pytest.mark.parametrize("header", [None, "Bearer", "Basic YTpi", "Token x", "bearer"])
async def test_without_a_bearer_token_nobody_is_let_in(http: httpx2.AsyncClient, header: str | None) -> None:
    assert_unauthenticated(await http.get("/api/v1/auth/me", headers={"Authorization": header} if header else {}))


async def test_an_access_token_ends_after_its_minutes(serve_app: Serve, join_app: Join) -> None:
    watch = Watch()
    person = await join_app(await serve_app(clock=watch, access_token_minutes=5))

    watch.advance(minutes=4)
    assert (await person.http.get("/api/v1/auth/me")).status_code == 200
    watch.advance(minutes=1, seconds=1)
    assert_unauthenticated(await person.http.get("/api/v1/auth/me"))


async def test_a_refresh_token_is_no_access_token(person: Person, http: httpx2.AsyncClient) -> None:
    assert_unauthenticated(await read_me(http, person.tokens["refresh_token"]))


async def test_a_switched_off_account_is_out_at_once(app: ServedApp, person: Person) -> None:
    await switch_off(app, person.user_id)

    assert_unauthenticated(await person.http.get("/api/v1/auth/me"))


async def test_the_token_of_an_account_that_never_was_is_refused(http: httpx2.AsyncClient) -> None:
    assert_unauthenticated(await read_me(http, make_token(new_id())))


# who is let in where


def _routes(app: ServedApp) -> set[str]:
    contexts = iter_route_contexts(create_app(app.services).routes)
    return {
        f"{method} {each.path}"
        for each in contexts
        for method in (each.methods or {"GET"}) - {"HEAD"}
        if each.path is not None
    }


async def test_every_route_but_the_open_ones_needs_a_token(app: ServedApp, http: httpx2.AsyncClient) -> None:
    guarded = _routes(app) - OPEN_ROUTES
    assert len(guarded) >= 14

    for method, path in (each.split() for each in sorted(guarded)):
        url = path.replace("{", "").replace("}", "")
        for name in ("conversation_id", "preset_id"):
            url = url.replace(name, str(new_id()))
        answer = await http.request(method, url, json={} if method in ("POST", "PATCH") else None)
        assert answer.status_code == 401, f"{method} {path} lets anybody in"


async def test_the_open_routes_exist(app: ServedApp) -> None:
    assert _routes(app) >= OPEN_ROUTES


# roles


@pytest.fixture
def office(app: ServedApp) -> FastAPI:
    """An app with one route for administrators, on the served app's accounts."""
    office = FastAPI()
    office.state.services = app.services
    install_error_handlers(office)

    @office.get("/office")
    async def enter(admin: AdminUser) -> str:
        return admin.email

    return office


@pytest.mark.parametrize(("role", "status"), [(Role.ADMIN, 200), (Role.USER, 403)])
async def test_only_administrators_pass_the_admin_guard(
    office: FastAPI, app: ServedApp, join_app: Join, role: Role, status: int
) -> None:
    person = await join_app(app, role=role)
    transport = httpx2.ASGITransport(app=office)
    async with httpx2.AsyncClient(transport=transport, base_url="http://office") as http:
        answer = await http.get("/office", headers={"Authorization": person.http.headers["Authorization"]})

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"] == "forbidden"


async def test_the_admin_guard_asks_for_a_token_first(office: FastAPI) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=office), base_url="http://office") as http:
        assert_unauthenticated(await http.get("/office"))


async def test_a_role_taken_away_is_gone_at_once(office: FastAPI, app: ServedApp, join_app: Join) -> None:
    person = await join_app(app, role=Role.ADMIN)
    async with app.services.database.unit_of_work() as uow:
        await uow._session.execute(update(User).where(User.id == person.user_id).values(role=Role.USER))
        await uow.commit()

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=office), base_url="http://office") as http:
        answer = await http.get("/office", headers={"Authorization": person.http.headers["Authorization"]})
    assert answer.status_code == 403


async def test_an_account_switched_off_asks_nothing_more_and_gets_no_old_answers(
    app: ServedApp, person: Person
) -> None:
    conversation_id = await person.begin()
    body = {"conversation_id": conversation_id, "message": "What is Salah?"}
    keyed = {"Idempotency-Key": "once"}
    assert (await person.http.post("/api/v1/chat", json=body, headers=keyed)).status_code == 200
    await switch_off(app, person.user_id)

    asked = await person.http.post("/api/v1/chat", json=body)
    repeated = await person.http.post("/api/v1/chat", json=body, headers=keyed)

    assert_unauthenticated(asked)
    assert_unauthenticated(repeated)
