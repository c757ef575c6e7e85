"""Model presets."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound
from app.db.models import ModelPreset, User


class Presets:
    """Reads and writes ``model_presets``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, preset: ModelPreset) -> ModelPreset:
        """Add a preset; a taken slug shows as IntegrityError on flush."""
        self._session.add(preset)
        return preset

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

    async def list_slugs(self, user_id: UUID) -> Sequence[str]:
        """The slugs an account has taken."""
        return (await self._session.scalars(select(ModelPreset.slug).where(ModelPreset.user_id == user_id))).all()

    async def require_readable(self, user_id: UUID, preset_id: UUID) -> ModelPreset:
        """A preset of one's own, or a public one; raises :class:`NotFound`."""
        preset = await self.get_readable(user_id, preset_id)
        if preset is None:
            raise NotFound(f"No preset {str(preset_id)!r}.")
        return preset

    async def require_any(self, preset_id: UUID) -> ModelPreset:
        """Anybody's preset, for operators; raises :class:`NotFound`."""
        preset: ModelPreset | None = await self._session.scalar(select(ModelPreset).where(ModelPreset.id == preset_id))
        if preset is None:
            raise NotFound(f"No preset {str(preset_id)!r}.")
        return preset

    async def get_readable(self, user_id: UUID, preset_id: UUID) -> ModelPreset | None:
        """A preset of one's own, or a public one."""
        readable = or_(ModelPreset.user_id == user_id, ModelPreset.is_public)
        preset: ModelPreset | None = await self._session.scalar(
            select(ModelPreset).where(ModelPreset.id == preset_id, readable)
        )
        return preset
