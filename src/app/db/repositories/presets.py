"""Model presets and their versions."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.errors import NotFound
from app.db.models import ModelPreset, PresetVersion, User
from app.domain.presets import OWN, STABLE, PresetContent, PresetId, PresetInUse, PresetName


class Presets:
    """Reads and writes ``model_presets`` and ``preset_versions``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, preset: ModelPreset) -> ModelPreset:
        """Add a preset with its first version; a taken slug shows as IntegrityError on flush."""
        self._session.add(preset)
        return preset

    def add_version(self, preset: ModelPreset) -> None:
        """Keep what a preset holds now as the version it counts."""
        content = PresetContent.of(preset).as_json()
        self._session.add(
            PresetVersion(
                user_id=preset.user_id,
                preset_id=preset.id,
                number=preset.version,
                content=content,
                created_at=preset.updated_at,
            )
        )

    async def delete(self, user_id: UUID, preset_id: UUID) -> bool:
        """Delete one of an account's presets with its versions; whether it was there."""
        query = delete(ModelPreset).where(ModelPreset.user_id == user_id, ModelPreset.id == preset_id)
        return bool((await self._session.execute(query.returning(ModelPreset.id))).first())

    async def lock_owner(self, user_id: UUID) -> None:
        """Make other transactions that count this owner's presets wait until this one ends."""
        await self._session.execute(select(User.id).where(User.id == user_id).with_for_update())

    async def count_owned(self, user_id: UUID) -> int:
        """How many presets an account keeps."""
        query = select(func.count()).select_from(ModelPreset).where(ModelPreset.user_id == user_id)
        return (await self._session.scalars(query)).one()

    async def list_owned(self, user_id: UUID) -> Sequence[ModelPreset]:
        """An account's presets, newest first. A plan bounds their number."""
        query = select(ModelPreset).where(ModelPreset.user_id == user_id).order_by(ModelPreset.id.desc())
        return (await self._session.scalars(query)).all()

    async def list_page(
        self, user_id: UUID, *, public: bool, patterns: Sequence[str], limit: int, before: UUID | None
    ) -> Sequence[tuple[ModelPreset, str | None]]:
        """At most ``limit`` of an account's own or of all public presets, newest first, with their owners' handles.

        With ``patterns`` those whose name, slug or description match each of them.
        """
        query = select(ModelPreset, User.handle).join(User, User.id == ModelPreset.user_id)
        query = query.where(and_(ModelPreset.is_public, User.is_active) if public else ModelPreset.user_id == user_id)
        for pattern in patterns:
            query = query.where(_says(pattern))
        if before is not None:
            query = query.where(ModelPreset.id < before)
        rows = await self._session.execute(query.order_by(ModelPreset.id.desc()).limit(limit))
        return [(preset, handle) for preset, handle in rows]

    async def oldest_owned(self, user_id: UUID, count: int) -> frozenset[UUID]:
        """The ids of the presets that were there first: those a plan for so many has room for."""
        query = select(ModelPreset.id).where(ModelPreset.user_id == user_id).order_by(ModelPreset.id).limit(count)
        return frozenset((await self._session.scalars(query)).all())

    async def list_slugs(self, user_id: UUID) -> Sequence[str]:
        """The slugs an account has taken."""
        return (await self._session.scalars(select(ModelPreset.slug).where(ModelPreset.user_id == user_id))).all()

    async def list_versions(self, preset: ModelPreset) -> Sequence[PresetVersion]:
        """Every version, newest first."""
        query = select(PresetVersion).where(*_of(preset)).order_by(PresetVersion.number.desc())
        return (await self._session.scalars(query)).all()

    async def require_version(self, preset: ModelPreset, number: int) -> PresetVersion:
        """One version; raises :class:`NotFound`."""
        query = select(PresetVersion).where(*_of(preset), PresetVersion.number == number)
        version: PresetVersion | None = await self._session.scalar(query)
        if version is None:
            raise NotFound(f"This preset has no version {number}.")
        return version

    async def require_own(self, user_id: UUID, preset_id: UUID, *, for_update: bool = False) -> ModelPreset:
        """One of an account's own presets; raises :class:`NotFound`."""
        preset = await self._session.get(ModelPreset, (user_id, preset_id), with_for_update=for_update or None)
        if preset is None:
            raise NotFound(f"No preset {str(preset_id)!r}.")
        return preset

    async def require_readable(self, user_id: UUID, preset_id: UUID) -> tuple[ModelPreset, str | None]:
        """A preset of one's own, or a public one, and its owner's handle; raises :class:`NotFound`."""
        query = select(ModelPreset, User.handle).join(User, User.id == ModelPreset.user_id)
        query = query.where(ModelPreset.id == preset_id, _is_readable(user_id))
        row = (await self._session.execute(query)).first()
        if row is None:
            raise NotFound(f"No preset {str(preset_id)!r}.")
        return row[0], row[1]

    async def require_any(self, preset_id: UUID) -> ModelPreset:
        """Anybody's preset, for operators; raises :class:`NotFound`."""
        preset: ModelPreset | None = await self._session.scalar(select(ModelPreset).where(ModelPreset.id == preset_id))
        if preset is None:
            raise NotFound(f"No preset {str(preset_id)!r}.")
        return preset

    async def find_for_use(self, user_id: UUID, name: PresetName, *, began_with: bool = False) -> PresetInUse | None:
        """The version that is meant, in one statement; ``None`` where there is none that the account may use.

        ``began_with``: what a conversation began with stays usable in it after its owner has made it private.
        """
        number = _number(name)
        query = select(ModelPreset.user_id, ModelPreset.id, ModelPreset.slug, ModelPreset.version, PresetVersion).join(
            PresetVersion,
            and_(
                PresetVersion.user_id == ModelPreset.user_id,
                PresetVersion.preset_id == ModelPreset.id,
                PresetVersion.number == number,
            ),
        )
        if isinstance(name, PresetId):
            query = query.where(ModelPreset.id == name.id)
        elif name.owner == OWN:
            query = query.where(ModelPreset.user_id == user_id, ModelPreset.slug == name.slug)
        else:
            query = query.join(User, User.id == ModelPreset.user_id)
            query = query.where(User.handle == name.owner, ModelPreset.slug == name.slug)
        if not began_with:
            query = query.where(_is_readable(user_id))
        row = (await self._session.execute(query)).first()
        return None if row is None else _in_use(*row)


def _in_use(owner_id: UUID, preset_id: UUID, slug: str, newest: int, version: PresetVersion) -> PresetInUse:
    return PresetInUse(
        owner_id=owner_id,
        id=preset_id,
        slug=slug,
        version=version.number,
        newest=newest,
        content=PresetContent.from_json(version.content),
    )


def _number(name: PresetName) -> Any:
    if name.version == STABLE:
        return ModelPreset.stable_version
    return ModelPreset.version if name.version is None else name.version


def _is_readable(user_id: UUID) -> ColumnElement[bool]:
    owner = aliased(User)
    is_active = select(owner.id).where(owner.id == ModelPreset.user_id, owner.is_active).exists()
    return or_(ModelPreset.user_id == user_id, and_(ModelPreset.is_public, is_active))


def _of(preset: ModelPreset) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return PresetVersion.user_id == preset.user_id, PresetVersion.preset_id == preset.id


def _says(pattern: str) -> ColumnElement[bool]:
    described = func.coalesce(ModelPreset.description, "")
    return or_(*(each.regexp_match(pattern) for each in (ModelPreset.name, ModelPreset.slug, described)))
