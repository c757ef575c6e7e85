"""``/images``: have pictures made, and keep them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, status
from pydantic import AwareDatetime
from starlette.responses import Response

from app.api.contents import content_response
from app.api.deps import AnswerAsker, CurrentUser, Images
from app.api.request_keys import IdempotencyKey, request_key
from app.api.schemas.common import ErrorBody, FilledText, ModelId
from app.api.schemas.images import (
    ImageBatchRead,
    ImageEdit,
    ImageGenerate,
    ImageModelsRead,
    ImagePageRead,
    ImageRead,
    ImageRegenerate,
    shown,
)

router = APIRouter(prefix="/images", tags=["images"])

_MAKING: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Quota exceeded, or a prompt that the provider refuses"},
    403: {"model": ErrorBody, "description": "The plan makes no pictures"},
    404: {"model": ErrorBody, "description": "No such picture"},
    409: {"model": ErrorBody, "description": "The Idempotency-Key came with another body"},
    422: {"model": ErrorBody, "description": "A value that the model does not take; `allowed` lists those it does"},
    502: {"model": ErrorBody, "description": "No picture came; nothing was charged"},
    503: {"model": ErrorBody, "description": "Switched off, or the server restarts"},
}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The range of it that was asked for"},
    304: {"description": "It is the one whose ETag was sent"},
    416: {"description": "It has no such range"},
}


@router.post("/generate", responses=_MAKING)
async def generate_images(
    body: ImageGenerate, asker: AnswerAsker, images: Images, idempotency_key: IdempotencyKey = None
) -> ImageBatchRead:
    """Have pictures made. The same ``Idempotency-Key`` again gives the same pictures, charged once."""
    batch = await images.generate(
        asker.id,
        body.prompt,
        body.options(),
        request_key=request_key(idempotency_key, "images", body),
        when_done=asker.seat.hand_over(),
    )
    return ImageBatchRead.of(batch)


@router.post("/{image_id}/edit", responses=_MAKING)
async def edit_image(
    image_id: UUID, body: ImageEdit, asker: AnswerAsker, images: Images, idempotency_key: IdempotencyKey = None
) -> ImageBatchRead:
    """Have pictures made from one there is, by a new prompt; both stay."""
    batch = await images.edit(
        asker.id,
        image_id,
        body.prompt,
        body.options(),
        request_key=request_key(idempotency_key, f"images edit {image_id}", body),
        when_done=asker.seat.hand_over(),
    )
    return ImageBatchRead.of(batch)


@router.post("/{image_id}/regenerate", responses=_MAKING)
async def regenerate_image(
    image_id: UUID,
    asker: AnswerAsker,
    images: Images,
    body: ImageRegenerate | None = None,
    idempotency_key: IdempotencyKey = None,
) -> ImageBatchRead:
    """Have a picture made once more; both stay."""
    body = body or ImageRegenerate()
    batch = await images.regenerate(
        asker.id,
        image_id,
        body.options(),
        request_key=request_key(idempotency_key, f"images regenerate {image_id}", body),
        when_done=asker.seat.hand_over(),
    )
    return ImageBatchRead.of(batch)


@router.get("/models")
async def list_image_models(_user: CurrentUser, images: Images) -> ImageModelsRead:
    """The models that draw, the default first, and what each takes."""
    return ImageModelsRead.model_validate({"items": await images.models()}, from_attributes=True)


@router.get("/history")
async def list_images(
    user: CurrentUser,
    images: Images,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    model: Annotated[ModelId | None, Query(description="The model asked for, or the one that drew")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Made then or later")] = None,
    before: Annotated[AwareDatetime | None, Query(description="Made earlier")] = None,
    q: Annotated[FilledText | None, Query(max_length=200, description="A part of the prompt")] = None,
) -> ImagePageRead:
    """One's own pictures, newest first."""
    page = await images.history(user.id, limit=limit, cursor=cursor, model=model, since=since, before=before, text=q)
    return ImagePageRead(items=[shown(each) for each in page.items], next_cursor=page.next_cursor)


@router.get("/{image_id}")
async def get_image(image_id: UUID, user: CurrentUser, images: Images) -> ImageRead:
    """A picture: what was asked for, what came, what it cost and where it is."""
    return shown(await images.get(user.id, image_id))


@router.get("/{image_id}/content", response_class=Response, responses=_BYTES)
async def get_image_content(image_id: UUID, request: Request, user: CurrentUser, images: Images) -> Response:
    """The picture itself, for its owner."""
    return await content_response(await images.open_content(user.id, image_id), request)


@router.get("/{image_id}/thumbnail", response_class=Response, responses=_BYTES)
async def get_image_thumbnail(image_id: UUID, request: Request, user: CurrentUser, images: Images) -> Response:
    """A small copy of the picture, as WebP, for its owner."""
    return await content_response(await images.open_content(user.id, image_id, thumbnail=True), request)


@router.delete("/{image_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_image(image_id: UUID, user: CurrentUser, images: Images) -> None:
    """Delete a picture. Those made from it stay."""
    await images.delete(user.id, image_id)
