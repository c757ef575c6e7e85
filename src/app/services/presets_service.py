"""Presets: named model configurations people keep and share."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core.clock import Clock, utc_now
from app.core.errors import Conflict, QuotaExceeded
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import ModelPreset
from app.db.unit_of_work import UnitOfWork
from app.domain.audit import Action, Actor
from app.services.openrouter_service import OpenRouterService, openrouter_service


class SlugTaken(Conflict):
    """The owner has another preset with this slug."""

    code = "slug_taken"


class PresetsService:
    """Use cases of ``/presets``. The number of presets is bounded by the owner's plan."""

    def __init__(
        self,
        *,
        database: Database,
        openrouter: OpenRouterService,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._openrouter = openrouter
        self._clock = clock

    async def create(
        self,
        user_id: UUID,
        *,
        name: str,
        slug: str,
        model: str,
        description: str | None = None,
        system_prompt: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        is_public: bool = False,
    ) -> ModelPreset:
        """Keep a new preset; raises :class:`SlugTaken`, ``QuotaExceeded``, or ``InvalidField`` for an unknown model."""
        self._openrouter.require_model(model)
        now = self._clock()
        preset = ModelPreset(
            user_id=user_id,
            id=new_id(),
            name=name,
            slug=slug,
            description=description,
            model=model,
            system_prompt=system_prompt,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            is_public=is_public,
            created_at=now,
            updated_at=now,
        )
        async with self._database.unit_of_work() as uow:
            await self._keep(uow, preset)
        return preset

    async def list_own(self, user_id: UUID) -> Sequence[ModelPreset]:
        """The account's own presets, newest first."""
        async with self._database.read_only() as uow:
            return await uow.presets.list_owned(user_id)

    async def read_any(self, actor: Actor, preset_id: UUID) -> ModelPreset:
        """Anybody's preset, for operators; that it was looked at stands in the audit log."""
        async with self._database.unit_of_work() as uow:
            preset = await uow.presets.require_any(preset_id)
            await uow.audit.record(actor, Action.READ_PRESET, now=self._clock(), user_id=preset.user_id)
            await uow.commit()
        return preset

    async def duplicate(self, user_id: UUID, preset_id: UUID) -> ModelPreset:
        """A private copy of one's own or a public preset, under the first free slug; it remembers its origin."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            await uow.presets.lock_owner(user_id)  # before the slugs are read: the first free one must stay free
            source = await uow.presets.require_readable(user_id, preset_id)
            copy = ModelPreset(
                user_id=user_id,
                id=new_id(),
                name=source.name,
                slug=_free_slug(source.slug, await uow.presets.list_slugs(user_id)),
                description=source.description,
                model=source.model,
                system_prompt=source.system_prompt,
                temperature=source.temperature,
                top_p=source.top_p,
                max_tokens=source.max_tokens,
                is_public=False,
                origin_user_id=source.user_id,
                origin_id=source.id,
                created_at=now,
                updated_at=now,
            )
            await self._keep(uow, copy)
        return copy

    async def aclose(self) -> None:
        """Close the database connections; a later call opens them anew."""
        await self._database.close()

    async def _keep(self, uow: UnitOfWork, preset: ModelPreset) -> None:
        await uow.presets.lock_owner(preset.user_id)
        plan = await uow.subscriptions.require_plan(preset.user_id, now=preset.created_at)
        limit = plan.limits.max_presets
        used = await uow.presets.count_owned(preset.user_id)
        if used >= limit:
            raise QuotaExceeded(f"Preset limit reached ({limit})", meter="presets", limit=limit, used=used)
        uow.presets.add(preset)
        try:
            await uow.flush()
        except IntegrityError:
            raise SlugTaken(f"You have a preset {preset.slug!r} already. Choose another slug.") from None
        await uow.commit()


def _free_slug(slug: str, taken: Sequence[str]) -> str:
    if slug not in taken:
        return slug
    base = f"{slug[:50].rstrip('-')}-copy"
    candidates = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
    return next(each for each in candidates if each not in taken)


presets_service = PresetsService(database=database, openrouter=openrouter_service)
