"""Titles of conversations: by a cheap model from what was said first, else the first words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from app.core.config import Settings, get_settings
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import Message
from app.db.unit_of_work import UnitOfWork
from app.domain.prompting import clean_title, title_from
from app.services.closing import durably, uninterrupted
from app.services.side_calls import SideAnswer, SideCall, SideCallAsk, SideCalls, side_calls

MAX_TOKENS = 32
SOURCE_MESSAGES = 4
SOURCE_CHARS = 2_000
INSTRUCTION = (
    "Give this conversation a title of at most six words, in the language of its first message. "
    "Answer with the title alone: no quotation marks, no full stop."
)


@dataclass(frozen=True, slots=True)
class TitleTask:
    """A title to be found: ``words`` are those the conversation began with, ``call`` is what a model may be asked."""

    words: str
    call: SideCall | None


class Titles:
    """Finds titles, and names conversations that have none."""

    def __init__(self, *, settings: Callable[[], Settings], database: Database, calls: SideCalls) -> None:
        self._settings = settings
        self._database = database
        self._calls = calls

    async def aclose(self) -> None:
        """Close the connections to OpenRouter; a later call opens them anew."""
        await self._calls.aclose()

    async def open(self, uow: UnitOfWork, user_id: UUID, conversation_id: UUID, *, made: UUID) -> TitleTask:
        """Hold what a title costs; ``made`` is the id of this request."""
        first = await uow.conversations.list_first_messages(user_id, conversation_id, limit=SOURCE_MESSAGES)
        return await self._open(uow, user_id, first, made)

    async def run(self, task: TitleTask) -> SideAnswer | None:
        """Ask the model, where one may be asked. What comes must be closed."""
        return await self._calls.run(task.call) if task.call else None

    async def close(self, uow: UnitOfWork, task: TitleTask, answer: SideAnswer | None) -> str:
        """Charge what it cost: the title by the model, else the first words."""
        if answer is None:
            return task.words
        await self._calls.close(uow, answer)
        return (clean_title(answer.result.answer) if answer.result else "") or task.words

    async def name_once(self, user_id: UUID, conversation_id: UUID) -> None:
        """Name a conversation that has been answered and has no title; whatever title a person gives meanwhile stays.

        The first words are written down at once: they are the title until the model has found one, they keep everybody
        else from asking too, and by them it shows whether somebody has changed the title since.
        """
        async with self._database.unit_of_work() as uow:
            first = await uow.conversations.list_first_messages(user_id, conversation_id, limit=SOURCE_MESSAGES)
            if not any(each.role == "assistant" and each.status == "completed" for each in first):
                return
            task = await self._open(uow, user_id, first, new_id())
            if not await uow.conversations.replace_title(user_id, conversation_id, before=None, title=task.words):
                return
            await uow.commit()
        answer = await self.run(task)
        if answer is not None:
            await uninterrupted(durably(partial(self._rename, user_id, conversation_id, task, answer)))

    async def _rename(self, user_id: UUID, conversation_id: UUID, task: TitleTask, answer: SideAnswer) -> None:
        async with self._database.unit_of_work() as uow:
            title = await self.close(uow, task, answer)
            await uow.conversations.replace_title(user_id, conversation_id, before=task.words, title=title)
            await uow.commit()

    async def _open(self, uow: UnitOfWork, user_id: UUID, messages: Sequence[Message], made: UUID) -> TitleTask:
        words = title_from(messages[0].content if messages else "")
        said = "\n\n".join(f"{each.role}: {each.content[:SOURCE_CHARS]}" for each in messages)
        ask = SideCallAsk(
            kind="title",
            messages=[{"role": "user", "content": f"{said}\n\n{INSTRUCTION}"}],
            model=self._settings().llm_title_model,
            max_tokens=MAX_TOKENS,
            temperature=0.3,
        )
        return TitleTask(words, await self._calls.open(uow, user_id, ask, made=made) if messages else None)


titles = Titles(settings=get_settings, database=database, calls=side_calls)
