"""``/presets``: named model configurations."""

from uuid import UUID

from fastapi import APIRouter, status

from app.api.deps import CurrentUser, Presets
from app.api.schemas.presets import PresetCreate, PresetRead

router = APIRouter(prefix="/presets", tags=["presets"])


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_preset(body: PresetCreate, user: CurrentUser, presets: Presets) -> PresetRead:
    """Keep a model configuration under a name."""
    return PresetRead.model_validate(await presets.create(user.id, **body.model_dump()))


@router.get("")
async def list_presets(user: CurrentUser, presets: Presets) -> list[PresetRead]:
    """One's own presets, newest first."""
    return [PresetRead.model_validate(each) for each in await presets.list_own(user.id)]


@router.post("/{preset_id}/duplicate", status_code=status.HTTP_201_CREATED)
async def duplicate_preset(preset_id: UUID, user: CurrentUser, presets: Presets) -> PresetRead:
    """Copy one's own or a public preset."""
    return PresetRead.model_validate(await presets.duplicate(user.id, preset_id))
