"""Presets: named model configurations people keep, change version by version, and share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core.clock import Clock, utc_now
from app.core.errors import Conflict, Forbidden, InvalidField, NotFound, QuotaExceeded
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import ModelPreset, PresetVersion
from app.db.unit_of_work import UnitOfWork
from app.domain.audit import Action, Actor
from app.domain.preset_variables import WrongValue, check_declarations
from app.domain.presets import (
    CONTENT_FIELDS,
    MOST_FALLBACKS,
    OWN,
    Change,
    PresetAddress,
    PresetContent,
    differences,
    names_preset,
)
from app.domain.search import search_patterns
from app.openrouter.prefix_lint import Finding, lint_text
from app.services.openrouter_service import OpenRouterService, openrouter_service

MOST_WARNINGS = 50
"""About one prompt: who mends these may ask again."""


class SlugTaken(Conflict):
    """The owner has another preset with this slug."""

    code = "slug_taken"


class PresetChanged(Conflict):
    """Somebody, the caller in another window perhaps, has changed it since it was read."""

    code = "preset_changed"


class PresetReadOnly(Forbidden):
    """The plan has room for fewer presets than there are: those that came last can only be used, and deleted."""

    code = "preset_read_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetView:
    """A preset as somebody looks at it.

    ``address`` is what stands in place of a model. ``is_read_only``: not one's own, or beyond what the plan has room
    for. ``successor``: its model has retired, and this one would answer in its place. ``warnings`` are about its
    prompt, which every answer repeats.
    """

    preset: ModelPreset
    address: str
    is_own: bool
    is_read_only: bool
    is_model_retired: bool
    successor: str | None
    warnings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class PresetPage:
    """Some presets, newest first, and where the next ones begin (``None``: there are no more)."""

    items: Sequence[PresetView]
    next_cursor: str | None


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
        self, user_id: UUID, *, name: str, slug: str, model: str, is_public: bool = False, **content: Any
    ) -> ModelPreset:
        """Keep a new preset; ``content`` are further fields of :class:`PresetContent`.

        Raises :class:`SlugTaken`, ``QuotaExceeded``, or ``InvalidField`` for an unknown model or what else is wrong.
        """
        checked = self._check(PresetContent(name=name, model=model, **content))
        preset = self._new(user_id, slug, checked, is_public=is_public)
        async with self._database.unit_of_work() as uow:
            await self._keep(uow, preset)
        return preset

    async def list_own(self, user_id: UUID) -> Sequence[ModelPreset]:
        """The account's own presets, newest first."""
        async with self._database.read_only() as uow:
            return await uow.presets.list_owned(user_id)

    async def list_page(
        self, user_id: UUID, *, public: bool, query: str, limit: int, cursor: UUID | None
    ) -> PresetPage:
        """A page of one's own presets or of everybody's public ones; with a ``query`` those that say its words."""
        patterns = search_patterns(query)
        if query.strip() and not patterns:
            return PresetPage((), None)
        async with self._database.read_only() as uow:
            rows = await uow.presets.list_page(
                user_id, public=public, patterns=patterns, limit=limit + 1, before=cursor
            )
            editable = await self._editable(uow, user_id)
        items = [self._view(user_id, *row, editable=editable) for row in rows[:limit]]
        return PresetPage(items, str(items[-1].preset.id) if len(rows) > limit else None)

    async def get(self, user_id: UUID, preset_id: UUID) -> PresetView:
        """One's own preset, or a public one; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            row = await uow.presets.require_readable(user_id, preset_id)
            return self._view(user_id, *row, editable=await self._editable(uow, user_id))

    async def update(
        self, user_id: UUID, preset_id: UUID, changes: Mapping[str, Any], *, expected_version: int | None = None
    ) -> ModelPreset:
        """Change what is given: fields of :class:`PresetContent` make a new version, ``slug`` and ``is_public`` none.

        Raises :class:`PresetChanged` where the newest version is not the ``expected_version`` any more.
        """
        async with self._database.unit_of_work() as uow:
            preset = await self._require_editable(uow, user_id, preset_id, expected_version)
            fields = {name: value for name, value in changes.items() if name in CONTENT_FIELDS}
            content = PresetContent(**(PresetContent.of(preset).as_json() | fields))
            if fields:  # its model may be gone by now: it can be made private all the same
                self._check(content)
            await self._write(uow, preset, content, changes)
        return preset

    async def roll_back(
        self, user_id: UUID, preset_id: UUID, number: int, *, expected_version: int | None = None
    ) -> ModelPreset:
        """Make a new version that holds what version ``number`` held."""
        async with self._database.unit_of_work() as uow:
            preset = await self._require_editable(uow, user_id, preset_id, expected_version)
            version = await uow.presets.require_version(preset, number)
            await self._write(uow, preset, PresetContent.from_json(version.content), {})
        return preset

    async def set_stable(self, user_id: UUID, preset_id: UUID, number: int | None) -> ModelPreset:
        """Say which version ``@stable`` means; ``None``: none any more."""
        async with self._database.unit_of_work() as uow:
            preset = await self._require_editable(uow, user_id, preset_id, None)
            if number is not None:
                await uow.presets.require_version(preset, number)
            preset.stable_version = number
            await uow.commit()
        return preset

    async def list_versions(self, user_id: UUID, preset_id: UUID) -> Sequence[PresetVersion]:
        """Every version of one's own preset, newest first. What others may read of a public one is the newest."""
        async with self._database.read_only() as uow:
            return await uow.presets.list_versions(await uow.presets.require_own(user_id, preset_id))

    async def compare(self, user_id: UUID, preset_id: UUID, before: int, after: int) -> Sequence[Change]:
        """In which fields two versions differ."""
        async with self._database.read_only() as uow:
            preset = await uow.presets.require_own(user_id, preset_id)
            old, new = [await uow.presets.require_version(preset, number) for number in (before, after)]
        return differences(PresetContent.from_json(old.content), PresetContent.from_json(new.content))

    async def delete(self, user_id: UUID, preset_id: UUID) -> None:
        """Delete one's own preset with its versions; conversations that began with it go on without."""
        async with self._database.unit_of_work() as uow:
            if not await uow.presets.delete(user_id, preset_id):
                raise NotFound(f"No preset {str(preset_id)!r}.")
            await uow.commit()

    async def read_any(self, actor: Actor, preset_id: UUID) -> ModelPreset:
        """Anybody's preset, for operators; that it was looked at stands in the audit log."""
        async with self._database.unit_of_work() as uow:
            preset = await uow.presets.require_any(preset_id)
            await uow.audit.record(actor, Action.READ_PRESET, now=self._clock(), user_id=preset.user_id)
            await uow.commit()
        return preset

    async def duplicate(self, user_id: UUID, preset_id: UUID) -> ModelPreset:
        """A private copy of one's own or a public preset, under the first free slug; it remembers its origin."""
        async with self._database.unit_of_work() as uow:
            await uow.presets.lock_owner(user_id)  # before the slugs are read: the first free one must stay free
            source, _ = await uow.presets.require_readable(user_id, preset_id)
            slug = _free_slug(source.slug, await uow.presets.list_slugs(user_id))
            copy = self._new(user_id, slug, PresetContent.of(source), is_public=False)
            copy.origin_user_id, copy.origin_id = source.user_id, source.id
            await self._keep(uow, copy)
        return copy

    async def aclose(self) -> None:
        """Close the database connections; a later call opens them anew."""
        await self._database.close()

    def _new(self, user_id: UUID, slug: str, content: PresetContent, *, is_public: bool) -> ModelPreset:
        now = self._clock()
        return ModelPreset(
            user_id=user_id,
            id=new_id(),
            slug=slug,
            is_public=is_public,
            version=1,
            created_at=now,
            updated_at=now,
            **content.as_json(),
        )

    def _check(self, content: PresetContent) -> PresetContent:
        fallbacks = content.fallback_models or ()
        if len(fallbacks) > MOST_FALLBACKS:
            raise InvalidField(
                "fallback_models", f"names {len(fallbacks)} models; at most {MOST_FALLBACKS} are allowed."
            )
        for field, model in (("model", content.model), *(("fallback_models", each) for each in fallbacks)):
            if names_preset(model):
                raise InvalidField(field, f"{model!r} is a preset: a preset names models.")
            self._openrouter.require_model(model, name=field)
        if content.response_schema is not None:
            self._openrouter.require_schema(content.response_schema, name="response_schema")
        try:
            check_declarations(content.variables or {})
        except WrongValue as wrong:
            raise InvalidField("variables", f"{wrong.name}: {wrong}.") from None
        return content

    def _view(self, user_id: UUID, preset: ModelPreset, handle: str | None, *, editable: frozenset[UUID]) -> PresetView:
        is_own = preset.user_id == user_id
        resolved = self._openrouter.catalog.resolve(preset.model)
        return PresetView(
            preset=preset,
            address=str(PresetAddress(OWN if is_own or handle is None else handle, preset.slug)),
            is_own=is_own,
            is_read_only=preset.id not in editable,
            is_model_retired=resolved is None or resolved.is_replaced,
            successor=resolved.id if resolved is not None and resolved.is_replaced else None,
            warnings=lint_preset(preset) if is_own else (),
        )

    async def _editable(self, uow: UnitOfWork, user_id: UUID) -> frozenset[UUID]:
        plan = await uow.subscriptions.require_plan(user_id, now=self._clock())
        return await uow.presets.oldest_owned(user_id, plan.limits.max_presets)

    async def _require_editable(
        self, uow: UnitOfWork, user_id: UUID, preset_id: UUID, expected_version: int | None
    ) -> ModelPreset:
        preset = await uow.presets.require_own(user_id, preset_id, for_update=True)
        if preset.id not in await self._editable(uow, user_id):
            raise PresetReadOnly(
                "Your plan has room for fewer presets than you keep: those you made last can be used and deleted, not "
                "changed. Delete others, or take a larger plan."
            )
        if expected_version is not None and preset.version != expected_version:
            raise PresetChanged(
                f"This preset is at version {preset.version} by now, not {expected_version}. Read it and change that.",
                version=preset.version,
            )
        return preset

    async def _write(
        self, uow: UnitOfWork, preset: ModelPreset, content: PresetContent, changes: Mapping[str, Any]
    ) -> None:
        is_new_version = bool(differences(PresetContent.of(preset), content))
        preset.slug = changes.get("slug", preset.slug)
        preset.is_public = changes.get("is_public", preset.is_public)
        preset.updated_at = self._clock()
        if is_new_version:
            for name, value in content.as_json().items():
                setattr(preset, name, value)
            preset.version += 1
            uow.presets.add_version(preset)
        await self._flush(uow, preset)

    async def _keep(self, uow: UnitOfWork, preset: ModelPreset) -> None:
        await uow.presets.lock_owner(preset.user_id)
        plan = await uow.subscriptions.require_plan(preset.user_id, now=preset.created_at)
        limit = plan.limits.max_presets
        used = await uow.presets.count_owned(preset.user_id)
        if used >= limit:
            raise QuotaExceeded(f"Preset limit reached ({limit})", meter="presets", limit=limit, used=used)
        uow.presets.add(preset)
        await self._flush(uow, preset, is_new=True)

    async def _flush(self, uow: UnitOfWork, preset: ModelPreset, *, is_new: bool = False) -> None:
        slug = preset.slug
        try:
            await uow.flush()
        except IntegrityError:
            raise SlugTaken(f"You have a preset {slug!r} already. Choose another slug.") from None
        if is_new:
            uow.presets.add_version(preset)
        if preset.is_public:
            await uow.accounts.ensure_handle(preset.user_id)
        await uow.commit()


def lint_preset(preset: ModelPreset) -> list[Finding]:
    """What in a preset's prompt keeps it out of caches; its own variables do not, since they are filled elsewhere."""
    text = preset.system_prompt or ""
    for name in preset.variables or {}:
        text = text.replace(f"{{{{{name}}}}}", name)
    return lint_text(text)[:MOST_WARNINGS]


def _free_slug(slug: str, taken: Sequence[str]) -> str:
    if slug not in taken:
        return slug
    base = f"{slug[:50].rstrip('-')}-copy"
    candidates = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
    return next(each for each in candidates if each not in taken)


presets_service = PresetsService(database=database, openrouter=openrouter_service)
