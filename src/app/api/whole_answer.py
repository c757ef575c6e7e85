"""A whole answer in one body, for callers who do not stream."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from app.services.answer_log import AnswerLog
from app.services.chat_events import encode

_CLIENT_CLOSED_REQUEST = 499
"""Nobody reads this status: it stands in the log."""


async def whole_answer(answer: AnswerLog, request: Request) -> Response:
    """Wait for the answer; a caller who hangs up stops reading it, as one who leaves a stream does."""
    reply = asyncio.ensure_future(answer.wait_for_reply())
    left = asyncio.ensure_future(_has_left(request))
    try:
        await asyncio.wait({reply, left}, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        return Response(encode(reply.result()), media_type="application/json")
    finally:
        left.cancel()
        reply.cancel()


async def _has_left(request: Request) -> None:
    # The body has been read: whatever comes now is the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass
