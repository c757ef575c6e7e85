"""What a turn costs the database does not grow with the conversation."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event

from app.domain.links import Link
from app.domain.plans import PlanTier
from app.services.assembly import Services
from app.services.chat_events import ChatReply
from tests.emulator.process import EmulatorProcess
from tests.support.conversations import add_branch
from tests.support.files import picture
from tests.support.served import make_settings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def services(database_url: str, tmp_path: Path, openrouter: EmulatorProcess) -> AsyncIterator[Services]:
    settings = make_settings(
        database_url=database_url, data_dir=tmp_path, openrouter_url=openrouter.base_url, llm_history_messages=1_000
    )
    services = Services.build(settings)
    yield services
    await services.aclose()


@contextmanager
def statements(services: Services) -> Iterator[list[str]]:
    """What is sent to the database while the block runs; beginning, committing and the driver's own aside."""
    seen: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            seen.append(statement)

    engine = services.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", remember)
    yield seen
    event.remove(engine, "before_cursor_execute", remember)


async def begin(services: Services, user_id: UUID, *, messages: int) -> UUID:
    """A conversation with a past."""
    conversation = await services.conversations.create(user_id)
    await add_branch(services.database, user_id, conversation.id, messages=messages, text="Saying")
    return conversation.id


async def test_reserving_and_settling_cost_the_same_after_two_messages_and_after_five_hundred(
    services: Services, openrouter: EmulatorProcess
) -> None:
    user = await services.auth.register(email="x@example.com", password="long enough", plan=PlanTier.UNLIMITED)
    counts: dict[int, list[str]] = {}
    for length in (2, 500):
        conversation_id = await begin(services, user.id, messages=length)
        with statements(services) as counts[length]:
            answer = await services.chat.chat(
                user_id=user.id, conversation_id=conversation_id, message_content="And now?"
            )
        assert isinstance(answer, ChatReply)
        (request,) = openrouter.requests(session_id=str(conversation_id))
        assert len(request["body"]["messages"]) == length + 2  # the mode's words, the past, the question

    assert counts[2] == counts[500]
    assert counts[2]


async def test_files_cost_the_same_statements_however_many_there_are(
    services: Services, openrouter: EmulatorProcess
) -> None:
    user = await services.auth.register(email="x@example.com", password="long enough", plan=PlanTier.UNLIMITED)
    bare = (await services.conversations.create(user.id)).id
    with statements(services) as without_files:
        await services.chat.chat(user_id=user.id, conversation_id=bare, message_content="And now?")
    counts = []
    for pictures in (2, 8):
        conversation_id = (await services.conversations.create(user.id)).id
        for number in range(pictures):
            link = Link("image", f"https://example.org/{number}.png")
            await services.chat.chat(
                user_id=user.id, conversation_id=conversation_id, message_content="Look", links=[link]
            )
        file = await services.attachments.upload(user.id, "a.png", _one(picture(size=(30 + pictures, 40))))
        await services.chat.chat(
            user_id=user.id, conversation_id=conversation_id, message_content="Look", attachment_ids=[file.id]
        )
        with statements(services) as seen:
            await services.chat.chat(user_id=user.id, conversation_id=conversation_id, message_content="And now?")
        (*_, request) = openrouter.requests(session_id=str(conversation_id))
        assert str(request["body"]["messages"]).count("'type': 'image_url'") == pictures + 1
        counts.append([each for each in seen if "FROM blob" not in each])

    assert len(counts[0]) == len(counts[1]) == len(without_files) + 1  # which files stand beside which message


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_a_long_month_does_not_make_reserving_dearer(services: Services) -> None:
    user = await services.auth.register(email="x@example.com", password="long enough", plan=PlanTier.UNLIMITED)
    conversation_id = (await services.conversations.create(user.id)).id
    lengths = []
    for _ in range(12):
        with statements(services) as seen:
            await services.chat.chat(user_id=user.id, conversation_id=conversation_id, message_content="And now?")
        lengths.append(len(seen))

    assert len(set(lengths)) == 1
