"""Accounts: register, log in, stay logged in, log out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from sqlalchemy.exc import IntegrityError

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import AccountGone, Conflict, InvalidCredentials, InvalidField, NotFound, Unauthenticated
from app.core.ids import new_id
from app.core.security import AccessTokens, InvalidToken, PasswordHasher, RefreshToken
from app.core.text import is_storable
from app.db.database import Database, database
from app.db.models import RefreshTokenRow, User
from app.db.unit_of_work import UnitOfWork
from app.domain.plans import PlanTier
from app.domain.presets import may_choose_handle
from app.domain.principal import Principal, Role
from app.services.rate_limiter import RateLimiter, rate_limiter


class EmailTaken(Conflict):
    """Another account has this e-mail address."""

    code = "email_taken"


class HandleTaken(Conflict):
    """Another account publishes under this handle."""

    code = "handle_taken"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client keeps after logging in. ``expires_in`` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class AuthService:
    """Use cases of ``/auth`` and of the command line's ``users``."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        limiter: RateLimiter,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._limiter = limiter
        self._clock = clock
        self._hasher: PasswordHasher | None = None
        self._tokens: AccessTokens | None = None

    async def register(
        self,
        *,
        email: str,
        password: str,
        full_name: str | None = None,
        role: Role = Role.USER,
        plan: PlanTier = PlanTier.FREE,
        address: str | None = None,
    ) -> User:
        """Create an account with a subscription to ``plan``; raises :class:`EmailTaken`.

        ``address``: where a stranger's request comes from, so that one place cannot register without end.
        """
        await self._limiter.count_registration(address)
        password_hash = await self._passwords().hash(password)
        now = self._clock()
        user = User(
            id=new_id(),
            email=_as_kept(email),
            full_name=full_name,
            password_hash=password_hash,
            role=role,
            is_active=True,
            created_at=now,
            updated_at=now,
        )
        async with self._database.unit_of_work() as uow:
            uow.accounts.add(user)
            try:
                await uow.flush()
            except IntegrityError:
                raise EmailTaken(f"There is already an account for {user.email!r}. Log in instead.") from None
            await uow.subscriptions.subscribe(user.id, plan, now=now)
            await uow.commit()
        return user

    async def login(self, *, email: str, password: str, address: str | None = None) -> TokenPair:
        """Tokens for the right password; the same refusal, in the same time, for a wrong one and an unknown e-mail.

        Failures are counted by account and by the ``address`` they come from, whether or not there is the account.
        """
        account = _as_kept(email)
        await self._limiter.count_login(account=account, address=address)
        user = await self._get_user(email) if is_storable(email) else None
        password = password if is_storable(password) else ""
        is_right = await self._passwords().verify(password, user.password_hash if user else None)
        if user is None or not is_right or not user.is_active:
            raise InvalidCredentials("The e-mail address or the password is wrong.")
        await self._limiter.forgive_login(account=account, address=address)
        async with self._database.unit_of_work() as uow:
            pair = self._issue(uow, user.id, family_id=new_id())
            await uow.commit()
        return pair

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Trade a refresh token for a new pair. One used twice was stolen: all that descend from its login end."""
        refusal = Unauthenticated("The refresh token is not valid. Log in again.")
        presented = RefreshToken.parse(refresh_token)
        if presented is None:
            raise refusal
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            await uow.accounts.lock(presented.user_id)
            stored = await uow.accounts.get_refresh_token(presented.user_id, presented.token_id)
            if stored is None or not presented.matches(stored.secret_hash) or stored.expires_at <= now:
                raise refusal
            if not await uow.accounts.use_refresh_token(stored, now=now):
                await uow.accounts.revoke_family(stored.user_id, stored.family_id, now=now)
                await uow.commit()
                raise refusal
            if await uow.principals.get(stored.user_id) is None:
                raise refusal
            pair = self._issue(uow, stored.user_id, family_id=stored.family_id)
            await uow.commit()
        return pair

    async def logout(self, refresh_token: str) -> None:
        """End the session a refresh token belongs to. Saying it twice, or with a foreign token, does no harm."""
        presented = RefreshToken.parse(refresh_token)
        if presented is None:
            return
        async with self._database.unit_of_work() as uow:
            await uow.accounts.lock(presented.user_id)
            stored = await uow.accounts.get_refresh_token(presented.user_id, presented.token_id)
            if stored is not None and presented.matches(stored.secret_hash):
                await uow.accounts.revoke_family(stored.user_id, stored.family_id, now=self._clock())
                await uow.commit()

    def identify(self, access_token: str) -> UUID:
        """Whom an access token speaks for; raises :class:`Unauthenticated`. The account may have gone since."""
        try:
            return self._access_tokens().read(access_token, now=self._clock())
        except InvalidToken:
            raise Unauthenticated("The access token is missing, expired or not ours. Log in again.") from None

    async def authenticate(self, access_token: str) -> Principal:
        """The active account an access token speaks for; raises :class:`Unauthenticated`."""
        user_id = self.identify(access_token)
        async with self._database.read_only() as uow:
            return await uow.principals.require(user_id)

    async def update_profile(self, user_id: UUID, changes: Mapping[str, str | None]) -> Principal:
        """Change ``full_name`` or ``handle``; raises :class:`HandleTaken`, ``InvalidField`` for a reserved one."""
        handle = changes.get("handle")
        if handle is not None and not may_choose_handle(handle, user_id):
            raise InvalidField("handle", f"{handle!r} is reserved. Choose another one.")
        async with self._database.unit_of_work() as uow:
            user = await uow.accounts.get(user_id)
            if user is None:
                raise AccountGone
            for name, value in changes.items():
                setattr(user, name, value)
            user.updated_at = self._clock()
            try:
                await uow.flush()
            except IntegrityError:
                raise HandleTaken(f"{changes['handle']!r} is somebody else's. Choose another handle.") from None
            await uow.commit()
            return user.as_principal()

    async def set_password(self, *, email: str, password: str) -> None:
        """Give an account a new password and end all its sessions; raises :class:`NotFound`."""
        password_hash = await self._passwords().hash(password)
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            user = await uow.accounts.get_by_email(_as_kept(email))
            if user is None:
                raise NotFound(f"No account for {email!r}.")
            await uow.accounts.lock(user.id)
            user.password_hash = password_hash
            user.updated_at = now
            await uow.accounts.revoke_all(user.id, now=now)
            await uow.commit()

    async def aclose(self) -> None:
        """Close the connections; a later call opens them anew."""
        await self._limiter.aclose()
        await self._database.close()

    async def _get_user(self, email: str) -> User | None:
        async with self._database.read_only() as uow:
            return await uow.accounts.get_by_email(_as_kept(email))

    def _issue(self, uow: UnitOfWork, user_id: UUID, *, family_id: UUID) -> TokenPair:
        now = self._clock()
        refresh = RefreshToken.make(user_id, new_id())
        uow.accounts.add_refresh_token(
            RefreshTokenRow(
                user_id=user_id,
                id=refresh.token_id,
                family_id=family_id,
                secret_hash=refresh.secret_hash,
                created_at=now,
                expires_at=now + timedelta(days=self._settings().refresh_token_days),
            )
        )
        tokens = self._access_tokens()
        return TokenPair(tokens.issue(user_id, now=now), str(refresh), int(tokens.lifetime.total_seconds()))

    def _passwords(self) -> PasswordHasher:
        if self._hasher is None:
            settings = self._settings()
            self._hasher = PasswordHasher(time_cost=settings.argon2_time_cost, memory_kib=settings.argon2_memory_kib)
        return self._hasher

    def _access_tokens(self) -> AccessTokens:
        if self._tokens is None:
            settings = self._settings()
            self._tokens = AccessTokens(
                secret=settings.require_jwt_secret(),
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                lifetime=timedelta(minutes=settings.access_token_minutes),
            )
        return self._tokens


def _as_kept(email: str) -> str:
    """One spelling for one address: Unicode, composed, in lower case. What is no address is only lowered."""
    try:
        email = validate_email(email, check_deliverability=False).normalized
    except EmailNotValidError:
        email = email.strip()
    return email.lower()


auth_service = AuthService(settings=get_settings, database=database, limiter=rate_limiter)
