"""Passwords and tokens."""

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.security import AccessTokens, InvalidToken, PasswordHasher, RefreshToken, pseudonym

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
USER, TOKEN = UUID(int=1), UUID(int=2)
SECRET = "a secret of more than thirty-two bytes"


def make_tokens(**changes: Any) -> AccessTokens:
    options: dict[str, Any] = {
        "secret": SECRET,
        "issuer": "wisqu",
        "audience": "wisqu-api",
        "lifetime": timedelta(minutes=15),
    }
    return AccessTokens(**(options | changes))


def make_hasher(**changes: Any) -> PasswordHasher:
    return PasswordHasher(**({"time_cost": 1, "memory_kib": 8} | changes))


@pytest.mark.anyio
class TestPasswordHasher:
    async def test_the_right_password_is_known_again_and_a_wrong_one_is_not(self) -> None:
        hasher = make_hasher()
        kept = await hasher.hash("السلام عليكم")

        assert await hasher.verify("السلام عليكم", kept)
        assert not await hasher.verify("السلام عليكم ", kept)

    async def test_a_hash_is_argon2id_with_the_costs_that_were_asked_for(self) -> None:
        kept = await make_hasher(time_cost=2, memory_kib=16).hash("password")

        assert kept.startswith("$argon2id$v=19$m=16,t=2,p=1$")
        assert "password" not in kept

    async def test_two_hashes_of_one_password_differ(self) -> None:
        hasher = make_hasher()

        assert await hasher.hash("password") != await hasher.hash("password")

    async def test_nobody_has_the_right_password_without_an_account(self) -> None:
        assert not await make_hasher().verify("password", None)

    async def test_an_unknown_account_costs_a_comparison_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hasher = make_hasher()
        compared: list[str] = []
        verify = hasher._argon2.verify
        monkeypatch.setattr(hasher._argon2, "verify", lambda given, kept: compared.append(kept) or verify(given, kept))
        for _ in range(2):
            await hasher.verify("password", None)

        assert len(compared) == 2
        assert len(set(compared)) == 1, "the decoy is made once"
        assert compared[0].startswith("$argon2id$v=19$m=8,t=1,p=1$")

    async def test_passwords_are_hashed_outside_the_event_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hasher = make_hasher()
        threads: list[int] = []
        monkeypatch.setattr(hasher._argon2, "hash", lambda _given: str(threads.append(threading.get_ident())))
        await hasher.hash("password")

        assert threads[0] != threading.get_ident()


class TestAccessTokens:
    def test_a_token_speaks_for_its_account(self) -> None:
        tokens = make_tokens()

        assert tokens.read(tokens.issue(USER, now=NOW), now=NOW) == USER

    def test_a_token_is_good_until_its_last_second(self) -> None:
        tokens = make_tokens(lifetime=timedelta(seconds=60))
        token = tokens.issue(USER, now=NOW)

        assert tokens.read(token, now=NOW + timedelta(seconds=59)) == USER
        with pytest.raises(InvalidToken):
            tokens.read(token, now=NOW + timedelta(seconds=61))

    @pytest.mark.parametrize(
        "changes",
        [{"secret": SECRET[::-1]}, {"issuer": "another"}, {"audience": "another"}],
        ids=lambda each: next(iter(each)),
    )
    def test_another_houses_token_is_not_ours(self, changes: dict[str, Any]) -> None:
        token = make_tokens(**changes).issue(USER, now=NOW)

        with pytest.raises(InvalidToken):
            make_tokens().read(token, now=NOW)

    def test_a_changed_token_is_noticed(self) -> None:
        head, claims, signature = make_tokens().issue(USER, now=NOW).split(".")
        changed = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        changed["sub"] = str(TOKEN)
        forged = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")

        with pytest.raises(InvalidToken):
            make_tokens().read(f"{head}.{forged}.{signature}", now=NOW)

    @given(text=st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with pytest.raises(InvalidToken):
            make_tokens().read(text, now=NOW)

    @given(parts=st.tuples(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=40)))
    def test_any_three_parts_are_refused(self, parts: tuple[bytes, bytes, bytes]) -> None:
        token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

        with pytest.raises(InvalidToken):
            make_tokens().read(token, now=NOW)

    def test_the_secret_is_not_shown(self) -> None:
        assert SECRET not in repr(make_tokens())


class TestRefreshToken:
    def test_a_token_is_read_as_it_was_written(self) -> None:
        token = RefreshToken.make(USER, TOKEN)

        assert RefreshToken.parse(str(token)) == token

    def test_no_two_tokens_share_a_secret(self) -> None:
        assert len({RefreshToken.make(USER, TOKEN).secret for _ in range(50)}) == 50

    def test_only_the_same_secret_matches(self) -> None:
        token, other = RefreshToken.make(USER, TOKEN), RefreshToken.make(USER, TOKEN)

        assert token.matches(token.secret_hash)
        assert not token.matches(other.secret_hash)

    def test_what_is_stored_does_not_tell_the_secret(self) -> None:
        token = RefreshToken.make(USER, TOKEN)

        assert len(token.secret_hash) == 32
        assert token.secret.encode() not in token.secret_hash

    def test_the_secret_is_not_shown(self) -> None:
        token = RefreshToken.make(USER, TOKEN)

        assert token.secret not in repr(token)

    @given(text=st.text(max_size=150))
    def test_what_cannot_be_one_of_ours_is_none(self, text: str) -> None:
        assert RefreshToken.parse(text) is None


class TestPseudonym:
    def test_a_user_keeps_one_name_that_does_not_tell_the_id(self) -> None:
        name = pseudonym(SECRET, USER)

        assert name == pseudonym(SECRET, USER)
        assert name not in (pseudonym(SECRET, TOKEN), pseudonym(SECRET[::-1], USER))
        assert USER.hex not in name
        assert len(name) == 64
