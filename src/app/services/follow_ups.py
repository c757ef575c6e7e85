"""What a turn gives reason for once it is over: a title for a conversation without, a summary of a long branch."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings, get_settings
from app.core.errors import AppError
from app.services.chat_turn import Turn
from app.services.summaries import Summaries, summaries
from app.services.titles import Titles, titles

log = structlog.get_logger(__name__)

LAST_SECONDS = 2.0
"""How long a stopping app waits for what nobody waits for."""


class FollowUps:
    """Starts tasks that nobody waits for, one of a kind for a conversation at a time, and ends them with the app."""

    def __init__(self, *, settings: Callable[[], Settings], titles: Titles, summaries: Summaries) -> None:
        self._settings = settings
        self._titles = titles
        self._summaries = summaries
        self._running: dict[tuple[str, Any], asyncio.Task[None]] = {}

    def after(self, turn: Turn) -> None:
        """Do what this turn gives reason for; most turns give none, and cost nothing here."""
        settings = self._settings()
        if settings.auto_title and turn.is_untitled:
            self._start("title", turn, self._titles.name_once(turn.user_id, turn.conversation_id))
        if settings.summarise_context and _may_fill_its_room(turn):
            self._start("summary", turn, self._summaries.make_if_due(turn.user_id, turn.message_id, turn.room))

    async def drain(self, grace_seconds: float = LAST_SECONDS) -> None:
        """Let what runs end within the time, then cancel it: nothing of it is owed to anybody."""
        if not self._running:
            return
        tasks = list(self._running.values())
        _, late = await asyncio.wait(tasks, timeout=grace_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, kind: str, turn: Turn, work: Coroutine[Any, Any, None]) -> None:
        key = (kind, turn.conversation_id)
        if key in self._running:
            work.close()
            return
        task = self._running[key] = asyncio.create_task(_see_through(kind, work), name=f"{kind} {turn.conversation_id}")
        task.add_done_callback(lambda _: self._running.pop(key, None))


def _may_fill_its_room(turn: Turn) -> bool:
    # The answer's length is not known here: whoever makes the summary looks at it.
    longest = turn.tokens_before + turn.question_tokens + turn.planned.request.max_tokens
    return turn.room.is_nearly_full(tokens=longest, messages=turn.depth + 2)


async def _see_through(kind: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except (AppError, SQLAlchemyError, OSError) as error:
        log.warning("follow_up.failed", kind=kind, error=type(error).__name__)
    except Exception:
        log.exception("follow_up.crashed", kind=kind)


follow_ups = FollowUps(settings=get_settings, titles=titles, summaries=summaries)
