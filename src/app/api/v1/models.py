"""``/models``: what may be asked for as ``model``."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from app.api.deps import CurrentUser, Models
from app.api.schemas.models import ModelRead

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
async def list_models(
    _user: CurrentUser,
    models: Models,
    q: Annotated[str, Query(max_length=200)] = "",
    output: Literal["text", "image", "audio"] | None = None,
) -> list[ModelRead]:
    """The models there are, by id; ``q`` and ``output`` narrow them down."""
    return [ModelRead.model_validate(each) for each in models.list_models(query=q, output=output)]
