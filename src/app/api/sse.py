"""Server-Sent Events from the log of a running answer."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from starlette.responses import StreamingResponse

from app.services.answer_log import AnswerLog, LoggedEvent

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": heartbeat\n\n"
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def stream_answer(answer: AnswerLog, *, after: int = 0) -> StreamingResponse:
    """The log behind event ``after`` as it grows; a comment keeps idle connections open. Leaving does not stop it."""
    return StreamingResponse(_frames(answer, after), media_type="text/event-stream", headers=_HEADERS)


async def _frames(answer: AnswerLog, after: int) -> AsyncIterator[bytes]:
    async with aclosing(answer.follow(after=after, idle_seconds=HEARTBEAT_SECONDS)) as batches:
        async for batch in batches:
            yield b"".join(map(frame, batch)) or HEARTBEAT


def frame(logged: LoggedEvent) -> bytes:
    """One event on the wire; its id is what ``Last-Event-ID`` will name."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (logged.sequence, logged.name.encode(), logged.data)
