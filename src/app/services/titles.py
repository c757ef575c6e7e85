"""Titles of conversations: by a cheap model from what was said first, else the first words."""

from collections.abc import Callable, Sequence
from uuid import UUID

from app.core.config import Settings, get_settings
from app.db.database import Database, database
from app.db.models import Message
from app.domain.prompting import clean_title, title_from
from app.services.side_calls import SideCalls, side_calls

MAX_TOKENS = 32
SOURCE_MESSAGES = 4
SOURCE_CHARS = 2_000
INSTRUCTION = (
    "Give this conversation a title of at most six words, in the language of its first message. "
    "Answer with the title alone: no quotation marks, no full stop."
)


class Titles:
    """Finds titles, and names conversations that have none."""

    def __init__(self, *, settings: Callable[[], Settings], database: Database, calls: SideCalls) -> None:
        self._settings = settings
        self._database = database
        self._calls = calls

    async def find(self, user_id: UUID, conversation_id: UUID) -> str:
        """A title by a model, else the first words; raises :class:`NotFound`."""
        async with self._database.read_only() as uow:
            await uow.conversations.require(user_id, conversation_id)
            first = await uow.conversations.list_first_messages(user_id, conversation_id, limit=SOURCE_MESSAGES)
        return await self._ask(user_id, first) or title_from(first[0].content if first else "")

    async def name_once(self, user_id: UUID, conversation_id: UUID) -> None:
        """Name a conversation that has been answered and has no title; whatever title a person gives meanwhile stays.

        The first words are written down at once: they are the title until the model has found one, they keep everybody
        else from asking too, and by them it shows whether somebody has changed the title since.
        """
        async with self._database.unit_of_work() as uow:
            first = await uow.conversations.list_first_messages(user_id, conversation_id, limit=SOURCE_MESSAGES)
            if not any(each.role == "assistant" and each.status == "completed" for each in first):
                return
            words = title_from(first[0].content)
            if not await uow.conversations.replace_title(user_id, conversation_id, before=None, title=words):
                return
            await uow.commit()
        title = await self._ask(user_id, first)
        if title:
            async with self._database.unit_of_work() as uow:
                await uow.conversations.replace_title(user_id, conversation_id, before=words, title=title)
                await uow.commit()

    async def _ask(self, user_id: UUID, messages: Sequence[Message]) -> str:
        if not messages:
            return ""
        said = "\n\n".join(f"{each.role}: {each.content[:SOURCE_CHARS]}" for each in messages)
        result = await self._calls.ask(
            user_id,
            [{"role": "user", "content": f"{said}\n\n{INSTRUCTION}"}],
            kind="title",
            model=self._settings().llm_title_model,
            max_tokens=MAX_TOKENS,
            temperature=0.3,
        )
        return clean_title(result.content) if result else ""


titles = Titles(settings=get_settings, database=database, calls=side_calls)
