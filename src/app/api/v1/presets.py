"""``/presets``: named model configurations, their versions, and those that others have made public."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from app.api.deps import CurrentUser, Presets
from app.api.schemas.common import ErrorBody, Text
from app.api.schemas.presets import (
    MOST_VERSIONS,
    ChangeRead,
    DifferenceRead,
    PresetCreate,
    PresetPageRead,
    PresetRead,
    PresetUpdate,
    PresetVersionRead,
    Rollback,
    StableVersion,
    read_preset,
    read_version,
)

router = APIRouter(
    prefix="/presets",
    tags=["presets"],
    responses={
        403: {"model": ErrorBody, "description": "More presets than the plan has room for: this one is read-only"},
        404: {"model": ErrorBody, "description": "No such preset of one's own or in public"},
        409: {"model": ErrorBody, "description": "The slug is taken, or the preset has changed meanwhile"},
    },
)


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_preset(body: PresetCreate, user: CurrentUser, presets: Presets) -> PresetRead:
    """Keep a model configuration under a name."""
    made = await presets.create(user.id, **body.model_dump())
    return read_preset(await presets.get(user.id, made.id))


@router.get("")
async def list_presets(
    user: CurrentUser,
    presets: Presets,
    public: bool = False,
    q: Annotated[Text, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: UUID | None = None,
) -> PresetPageRead:
    """One's own presets, newest first; with ``public`` everybody's public ones; with ``q`` those that say its words."""
    page = await presets.list_page(user.id, public=public, query=q, limit=limit, cursor=cursor)
    return PresetPageRead(items=[read_preset(each) for each in page.items], next_cursor=page.next_cursor)


@router.get("/{preset_id}")
async def get_preset(preset_id: UUID, user: CurrentUser, presets: Presets) -> PresetRead:
    """One's own or a public preset, in its newest version."""
    return read_preset(await presets.get(user.id, preset_id))


@router.patch("/{preset_id}")
async def update_preset(preset_id: UUID, body: PresetUpdate, user: CurrentUser, presets: Presets) -> PresetRead:
    """Change one's own preset: a new version, unless only slug or publicity change."""
    await presets.update(user.id, preset_id, body.changes(), expected_version=body.expected_version)
    return read_preset(await presets.get(user.id, preset_id))


@router.delete("/{preset_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_preset(preset_id: UUID, user: CurrentUser, presets: Presets) -> None:
    """Delete one's own preset with its versions."""
    await presets.delete(user.id, preset_id)


@router.post("/{preset_id}/duplicate", status_code=status.HTTP_201_CREATED)
async def duplicate_preset(preset_id: UUID, user: CurrentUser, presets: Presets) -> PresetRead:
    """Copy one's own or a public preset."""
    copy = await presets.duplicate(user.id, preset_id)
    return read_preset(await presets.get(user.id, copy.id))


@router.get("/{preset_id}/versions")
async def list_versions(preset_id: UUID, user: CurrentUser, presets: Presets) -> list[PresetVersionRead]:
    """Every version of one's own preset, newest first."""
    stable = (await presets.get(user.id, preset_id)).preset.stable_version
    versions = await presets.list_versions(user.id, preset_id)
    return [read_version(each.number, each.content, each.created_at, stable=stable) for each in versions]


@router.get("/{preset_id}/diff")
async def compare_versions(
    preset_id: UUID,
    user: CurrentUser,
    presets: Presets,
    from_version: Annotated[int, Query(alias="from", ge=1, le=MOST_VERSIONS)],
    to_version: Annotated[int, Query(alias="to", ge=1, le=MOST_VERSIONS)],
) -> DifferenceRead:
    """In which fields two versions of one's own preset differ."""
    changes = await presets.compare(user.id, preset_id, from_version, to_version)
    told = [ChangeRead.model_validate(each) for each in changes]
    return DifferenceRead(from_version=from_version, to_version=to_version, changes=told)


@router.post("/{preset_id}/rollback")
async def roll_back(preset_id: UUID, body: Rollback, user: CurrentUser, presets: Presets) -> PresetRead:
    """Make a new version that holds what an earlier one held."""
    await presets.roll_back(user.id, preset_id, body.version, expected_version=body.expected_version)
    return read_preset(await presets.get(user.id, preset_id))


@router.put("/{preset_id}/stable")
async def set_stable_version(preset_id: UUID, body: StableVersion, user: CurrentUser, presets: Presets) -> PresetRead:
    """Say which version ``@stable`` means."""
    await presets.set_stable(user.id, preset_id, body.version)
    return read_preset(await presets.get(user.id, preset_id))
