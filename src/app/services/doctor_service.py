"""Looks at everything a running product stands on, and says what is wrong and what to do about it."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from app.core.clock import Clock, utc_now
from app.core.config import ConfigurationError, Settings, get_settings
from app.db.database import Database, database
from app.db.schema_version import is_up_to_date
from app.openrouter.account import KeyInfo
from app.openrouter.errors import AuthenticationFailed, Forbidden, OpenRouterError
from app.services.blob_keeper import BlobKeeper, blob_keeper
from app.services.image_planner import ALL_MODELS
from app.services.openrouter_service import OpenRouterService, openrouter_service

LOW_CREDITS_USD = Decimal(5)
LOW_SHARE_OF_LIMIT = Decimal("0.1")

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``advice`` says what to do; a ``problem`` fails requests, a ``warning`` may one day."""

    level: Level
    subject: str
    text: str
    advice: str = ""


class DoctorService:
    """Examines settings, database, the store of files and OpenRouter. Leaves nothing changed, and asks no model."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        blobs: BlobKeeper,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._blobs = blobs
        self._clock = clock

    async def examine(self) -> AsyncIterator[Finding]:
        """The findings one after the other, as soon as each is known."""
        try:
            settings = self._settings()
        except ConfigurationError as error:
            yield Finding("problem", "settings", " ".join(str(error).split()), "Correct them, then ask again.")
            return
        yield Finding("ok", "settings", f"are complete, for {settings.app_env.value}")
        async for finding in self._examine_database():
            yield finding
        if settings.image_storage_type != "database":
            yield await self._examine_files(settings)
        async for finding in self._examine_openrouter(settings):
            yield finding
        for finding in self._examine_models(settings):
            yield finding

    async def aclose(self) -> None:
        """Close what was opened for looking."""
        await self._openrouter.aclose()
        await self._blobs.aclose()
        await self._database.close()

    # database

    async def _examine_database(self) -> AsyncIterator[Finding]:
        try:
            kind = self._database.engine.dialect.name
            migrated = await is_up_to_date(self._database.engine)
        except Exception as error:  # whatever the driver raises: it does not answer
            yield Finding("problem", "database", f"does not answer ({type(error).__name__})", "Check DATABASE_URL.")
            return
        if not migrated:
            yield Finding("problem", "database", f"{kind} answers but lacks migrations", "Run `wisqu migrate`.")
            return
        yield Finding("ok", "database", f"{kind} answers and is up to date")
        async with self._database.read_only() as uow:
            plans = await uow.subscriptions.list_plans()
        if plans:
            yield Finding("ok", "plans", ", ".join(each.plan.value for each in plans))
        else:
            yield Finding("problem", "plans", "there are none, so nobody can register", "Run `wisqu seed`.")

    async def _examine_files(self, settings: Settings) -> Finding:
        kind = settings.image_storage_type
        try:
            await self._blobs.try_store()
        except Exception as error:  # whatever the store raises: it takes no files
            settings_of = "IMAGE_S3_*, and that the bucket is there" if kind == "s3" else "IMAGE_STORAGE_PATH"
            text = f"{kind} takes none ({type(error).__name__})"
            return Finding("problem", "files", text, f"Check {settings_of}.")
        return Finding("ok", "files", f"{kind} takes them and gives them back")

    # OpenRouter

    async def _examine_openrouter(self, settings: Settings) -> AsyncIterator[Finding]:
        if settings.openrouter_api_key is None:
            advice = "Set OPENROUTER_API_KEY, or use `make run`, which brings an emulator."
            yield Finding("problem", "openrouter", "there is no key, so chats answer 503", advice)
            return
        await self._openrouter.refresh_catalog()
        listed = self._openrouter.listed_models
        if listed is None:
            text = f"{settings.openrouter_base_url} does not answer: {_words(self._openrouter.catalog_error)}"
            yield Finding("problem", "openrouter", text, "Check OPENROUTER_BASE_URL and the way to the network.")
            return
        yield Finding("ok", "openrouter", f"{settings.openrouter_base_url} lists {len(listed)} models")
        yield await self._examine_key()
        yield await self._examine_credits()

    async def _examine_key(self) -> Finding:
        try:
            key = await self._openrouter.get_key()
        except AuthenticationFailed as error:
            return Finding("problem", "key", f"is refused: {_words(error)}", "Put a valid key into OPENROUTER_API_KEY.")
        except OpenRouterError as error:
            return Finding("warning", "key", f"could not be asked about: {_words(error)}", "Ask again later.")
        return _key_finding(key, self._clock())

    async def _examine_credits(self) -> Finding:
        try:
            credits = await self._openrouter.get_credits()
        except (AuthenticationFailed, Forbidden):
            return Finding("ok", "credits", "are told to management keys only; this key is none")
        except OpenRouterError as error:
            return Finding("warning", "credits", f"could not be asked about: {_words(error)}", "Ask again later.")
        left = credits.remaining
        if left is None:
            return Finding("ok", "credits", "are not told")
        if left <= 0:
            return Finding("problem", "credits", f"are used up ({left:.2f} USD)", "Buy credits on OpenRouter.")
        if left < LOW_CREDITS_USD:
            return Finding("warning", "credits", f"{left:.2f} USD are left", "Buy credits on OpenRouter.")
        return Finding("ok", "credits", f"{left:.2f} USD are left")

    # models

    def _examine_models(self, settings: Settings) -> Iterator[Finding]:
        chatting = {
            "LLM_MODEL": (settings.llm_model,),
            "LLM_FREE_MODEL": (settings.llm_free_model,),
            "LLM_TITLE_MODEL": (settings.llm_title_model,),
            "DEFAULT_FALLBACK_MODELS": settings.default_fallback_models,
        }
        for name, models in chatting.items():
            for model in models:
                yield self._examine_model(name, model)
        for model in settings.image_generation_models:
            if model == ALL_MODELS:
                yield Finding("ok", "IMAGE_GENERATION_MODELS", "every model that draws may")
                continue
            yield self._examine_model("IMAGE_GENERATION_MODELS", model, draws=True)

    def _examine_model(self, setting: str, model: str, *, draws: bool = False) -> Finding:
        resolved, listed = self._openrouter.catalog.resolve(model), self._openrouter.listed_models
        if resolved is None or (listed is not None and resolved.profile.id not in listed):
            return Finding("problem", setting, f"{model!r} is not offered", "`wisqu models list` shows what is.")
        if draws and not resolved.profile.makes_images:
            advice = "`wisqu models list --output image` shows those that do."
            return Finding("problem", setting, f"{model!r} makes no images", advice)
        if resolved.is_replaced:
            text = f"{model!r} has retired; {resolved.id!r} answers in its place"
            return Finding("warning", setting, text, f"Name {resolved.id!r} in {setting}.")
        return Finding("ok", setting, f"{model!r} is offered")


def _key_finding(key: KeyInfo, now: datetime) -> Finding:
    name = key.label or "the key"
    if key.expires_at is not None and _has_passed(key.expires_at, now):
        return Finding("problem", "key", f"{name} expired on {key.expires_at}", "Make a new key on OpenRouter.")
    if key.limit is None or key.limit_remaining is None:
        return Finding("ok", "key", f"{name} is valid and has no limit")
    text = f"{name}: {key.limit_remaining:.2f} of {key.limit:.2f} USD are left"
    text += f" ({key.limit_reset})" if key.limit_reset else ""
    if key.limit_remaining <= 0:
        return Finding("problem", "key", text, "Raise the key's limit on OpenRouter.")
    is_low = key.limit_remaining < key.limit * LOW_SHARE_OF_LIMIT
    return (
        Finding("warning", "key", text, "Raise the key's limit on OpenRouter.")
        if is_low
        else Finding("ok", "key", text)
    )


def _words(error: OpenRouterError | None) -> str:
    return str(error).rstrip(".")


def _has_passed(instant: str, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(instant) <= now
    except (ValueError, TypeError):  # an unreadable or zoneless instant tells nothing
        return False


doctor_service = DoctorService(
    settings=get_settings, database=database, openrouter=openrouter_service, blobs=blob_keeper
)
