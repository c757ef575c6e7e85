"""Writes down from time to time what running answers have shown: the text outlives a process that is killed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings, get_settings
from app.core.text import storable
from app.db.database import Database, database
from app.services.chat_turn import Turn

log = structlog.get_logger(__name__)


class ShownText:
    """The text of one answer as far as its readers have seen it."""

    def __init__(self) -> None:
        self._text = bytearray()  # UTF-8: a list of many small strings takes ten times the room
        self.has_changed = False

    @property
    def text(self) -> str:
        """All of it."""
        return self._text.decode()

    def add(self, text: str) -> None:
        """More of it."""
        self._text += text.encode(errors="ignore")
        self.has_changed = True

    def clear(self) -> None:
        """It was taken back."""
        if self._text:
            self._text.clear()
            self.has_changed = True


class AnswerCheckpoints:
    """One transaction for all answers of the process, every ``ANSWER_CHECKPOINT_SECONDS``; none for what is still."""

    def __init__(self, *, settings: Callable[[], Settings], database: Database) -> None:
        self._settings = settings
        self._database = database
        self._kept: dict[tuple[UUID, UUID], ShownText] = {}
        self._writing: asyncio.Task[None] | None = None

    @contextmanager
    def keep(self, turn: Turn, shown: ShownText) -> Iterator[None]:
        """Write down what ``shown`` holds until the block ends."""
        key = (turn.user_id, turn.message_id)
        self._kept[key] = shown
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_for_ever(), name="answer checkpoints")
        try:
            yield
        finally:
            del self._kept[key]

    async def aclose(self) -> None:
        """Stop writing."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    async def _write_for_ever(self) -> None:
        while self._kept:
            await asyncio.sleep(self._settings().answer_checkpoint_seconds)
            changed = {key: shown for key, shown in self._kept.items() if shown.has_changed}
            if changed:
                await self._write(changed)

    async def _write(self, changed: dict[tuple[UUID, UUID], ShownText]) -> None:
        try:
            async with self._database.unit_of_work() as uow:
                for (user_id, message_id), shown in changed.items():
                    shown.has_changed = False
                    await uow.turns.keep_partial_text(user_id, message_id, storable(shown.text))
                await uow.commit()
        except (SQLAlchemyError, OSError) as error:
            for shown in changed.values():
                shown.has_changed = True
            log.warning("answers.not_checkpointed", answers=len(changed), kind=type(error).__name__)


answer_checkpoints = AnswerCheckpoints(settings=get_settings, database=database)
