"""Server-Sent Events from the log of a running answer."""

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from app.services.generation_hub import AnswerLog, LoggedEvent

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": heartbeat\n\n"
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def stream_answer(answer: AnswerLog) -> StreamingResponse:
    """The whole log as it grows; a comment keeps idle connections open. Leaving it does not stop the answer."""
    return StreamingResponse(_frames(answer), media_type="text/event-stream", headers=_HEADERS)


async def _frames(answer: AnswerLog) -> AsyncIterator[bytes]:
    async for batch in answer.follow(after=0, idle_seconds=HEARTBEAT_SECONDS):
        yield b"".join(map(frame, batch)) or HEARTBEAT


def frame(logged: LoggedEvent) -> bytes:
    """One event on the wire; its id is what ``Last-Event-ID`` will name."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (logged.sequence, logged.event.name.encode(), logged.data)
