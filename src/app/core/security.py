"""Passwords and tokens: Argon2 hashes, signed access tokens, opaque refresh tokens."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

import anyio.to_thread
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pwdlib.hashers.argon2 import Argon2Hasher

ALGORITHM = "HS256"


class PasswordHasher:
    """Argon2id in worker threads, a few at a time: one hash is some 0.2 s of CPU and must not stop the event loop."""

    def __init__(self, *, time_cost: int, memory_kib: int, parallel: int = 4) -> None:
        self._argon2 = Argon2Hasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._parallel = parallel
        self._limiter: anyio.CapacityLimiter | None = None
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a password with a fresh salt."""
        return await anyio.to_thread.run_sync(self._argon2.hash, password, limiter=self._threads())

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Compare; without a hash (unknown account) spend the same time on a decoy and say no."""
        against = password_hash if password_hash is not None else await self._decoy_hash()
        matches = await anyio.to_thread.run_sync(self._argon2.verify, password, against, limiter=self._threads())
        return matches and password_hash is not None

    async def _decoy_hash(self) -> str:
        if self._decoy is None:
            self._decoy = await self.hash(secrets.token_urlsafe())
        return self._decoy

    def _threads(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._parallel)
        return self._limiter


class InvalidToken(Exception):
    """The access token is malformed, foreign, expired or meant for somebody else."""


@dataclass(frozen=True)
class AccessTokens:
    """Issues and reads the short-lived signed tokens every request carries."""

    secret: str = field(repr=False)
    issuer: str
    audience: str
    lifetime: timedelta

    def issue(self, user_id: UUID, *, now: datetime) -> str:
        """A signed token for ``user_id`` that is valid for ``lifetime`` from ``now``."""
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": str(user_id),
            "iat": int(now.timestamp()),
            "exp": int((now + self.lifetime).timestamp()),
            "typ": "access",
        }
        return jwt.encode({"alg": ALGORITHM}, claims, self._key)

    def read(self, token: str, *, now: datetime) -> UUID:
        """The user the token speaks for; raises :class:`InvalidToken`."""
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
            typ={"essential": True, "value": "access"},
        )
        try:
            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])
            registry.validate(decoded.claims)
            return UUID(decoded.claims["sub"])
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidToken("the access token is not valid") from error

    @cached_property
    def _key(self) -> OctKey:
        return OctKey.import_key(self.secret)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """An opaque token ``user.id.secret``: the first two find the row by key, only a hash of the secret is stored."""

    user_id: UUID
    token_id: UUID
    secret: str = field(repr=False)

    @classmethod
    def make(cls, user_id: UUID, token_id: UUID) -> "RefreshToken":
        """A fresh token with 256 random bits."""
        return cls(user_id, token_id, secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, text: str) -> "RefreshToken | None":
        """Read what a client sent; ``None`` when it cannot be one of ours."""
        try:
            user_id, token_id, secret = text.split(".")
            return cls(UUID(hex=user_id), UUID(hex=token_id), secret)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.user_id.hex}.{self.token_id.hex}.{self.secret}"

    @property
    def secret_hash(self) -> bytes:
        """SHA-256 of the secret: enough for 256 random bits."""
        return hashlib.sha256(self.secret.encode()).digest()

    def matches(self, stored_hash: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.secret_hash, stored_hash)


def pseudonym(secret: str, user_id: UUID) -> str:
    """A stable name for a user that tells an outsider nothing (HMAC-SHA256, hex)."""
    return hmac.new(secret.encode(), user_id.bytes, hashlib.sha256).hexdigest()
