"""``/attachments``: files to send along with questions."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, status
from starlette.responses import Response

from app.api.contents import content_response
from app.api.deps import Attachments, CurrentUser
from app.api.schemas.attachments import AttachmentPageRead, AttachmentRead
from app.api.schemas.common import ErrorBody
from app.api.uploads import FIELD, UploadedFile

router = APIRouter(prefix="/attachments", tags=["attachments"])

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary", "description": "The file"}},
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=_FORM,
    responses={
        400: {"model": ErrorBody, "description": "No multipart form, or no room left"},
        403: {"model": ErrorBody, "description": "The plan lacks this kind of file"},
        408: {"model": ErrorBody, "description": "The sender fell silent"},
        413: {"model": ErrorBody, "description": "Too many bytes, pixels, pages or seconds"},
        415: {"model": ErrorBody, "description": "No type that is taken, or not what the name says"},
        422: {"model": ErrorBody, "description": "Empty, damaged, encrypted or two files in one"},
        429: {"model": ErrorBody, "description": "Too many requests, or files at the same time"},
        503: {"model": ErrorBody, "description": "Switched off, busy, or the store cannot be reached"},
    },
)
async def upload_attachment(request: Request, user: CurrentUser, attachments: Attachments) -> AttachmentRead:
    """Send a file: a form with one field, ``file``. What it is, its content tells, not its name."""
    uploaded = UploadedFile(request)
    name = await uploaded.name()
    return AttachmentRead.model_validate(await attachments.upload(user.id, name, uploaded.chunks()))


@router.get("")
async def list_attachments(
    user: CurrentUser,
    attachments: Attachments,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> AttachmentPageRead:
    """One's own files, newest first."""
    return AttachmentPageRead.model_validate(await attachments.list_page(user.id, limit=limit, cursor=cursor))


@router.get("/{attachment_id}")
async def get_attachment(attachment_id: UUID, user: CurrentUser, attachments: Attachments) -> AttachmentRead:
    """What is known of a file."""
    return AttachmentRead.model_validate(await attachments.get(user.id, attachment_id))


@router.get(
    "/{attachment_id}/content",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "The range of it that was asked for"},
        304: {"description": "It is the one whose ETag was sent"},
        416: {"description": "It has no such range"},
    },
)
async def get_attachment_content(
    attachment_id: UUID, request: Request, user: CurrentUser, attachments: Attachments
) -> Response:
    """The file itself, for its owner."""
    return await content_response(await attachments.open_content(user.id, attachment_id), request)


@router.delete("/{attachment_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_attachment(attachment_id: UUID, user: CurrentUser, attachments: Attachments) -> None:
    """Delete a file. Messages it was sent with go on naming it."""
    await attachments.delete(user.id, attachment_id)
