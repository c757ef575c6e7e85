"""The log of one answer: complete for every reader, small, and closed by its last event."""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ServiceUnavailable
from app.services.answer_log import BATCH_BYTES, AnswerLog, LoggedEvent
from app.services.chat_events import ContentDelta, MessageFailed, MessageInterrupted, ReasoningDelta, encode

pytestmark = pytest.mark.anyio

USER = uuid4()


def make_log(*texts: str, offset: int = 0) -> AnswerLog:
    log = AnswerLog(USER, uuid4(), offset=offset)
    for text in texts:
        log.append(ContentDelta(text=text))
    return log


def close(log: AnswerLog) -> None:
    log.append(MessageInterrupted(message_id=log.message_id))


async def read(log: AnswerLog, after: int = 0) -> list[LoggedEvent]:
    return [each async for each in log.read(after=after)]


@given(st.lists(st.text(max_size=20), max_size=30), st.data())
def test_what_is_behind_any_event_is_what_was_written_behind_it(texts: list[str], data: st.DataObject) -> None:
    log = make_log(*texts)
    after = data.draw(st.integers(0, len(texts)))

    found = log.events(after=after)

    assert [each.sequence for each in found] == list(range(after + 1, len(texts) + 1))
    assert [each.event for each in found] == [ContentDelta(text=text) for text in texts[after:]]


def test_an_event_reads_back_as_it_was_written() -> None:
    log = make_log()
    log.append(ReasoningDelta(text="صبر"))

    (logged,) = log.events()

    assert (logged.sequence, logged.name, logged.data) == (1, "reasoning.delta", '{"text":"صبر"}'.encode())
    assert logged.event == ReasoningDelta(text="صبر")


async def test_a_reader_gets_what_is_there_and_what_comes() -> None:
    log = make_log("a")
    reader = asyncio.create_task(read(log))
    await asyncio.sleep(0)
    log.append(ContentDelta(text="b"))
    await asyncio.sleep(0)
    close(log)

    assert [each.name for each in await reader] == ["content.delta", "content.delta", "message.interrupted"]


async def test_a_late_reader_is_handed_a_long_answer_in_pieces() -> None:
    log = make_log(*["x" * 1_000] * 300)
    close(log)

    batches = [batch async for batch in log.follow(after=0)]

    sizes = [sum(len(each.data) for each in batch) for batch in batches]
    assert len(batches) > 4
    assert max(sizes) <= BATCH_BYTES + 1_100
    assert [each.sequence for batch in batches for each in batch] == list(range(1, 302))


async def test_an_idle_reader_is_told_that_nothing_came() -> None:
    log = make_log()
    following = log.follow(after=0, idle_seconds=0.01)

    assert await anext(following) == []
    log.append(ContentDelta(text="a"))
    assert [each.sequence for each in await anext(following)] == [1]
    await following.aclose()


async def test_nothing_follows_the_last_event() -> None:
    log = make_log()
    close(log)

    with pytest.raises(RuntimeError):
        log.append(ContentDelta(text="late"))
    assert [each.name for each in log.events()] == ["message.interrupted"]


async def test_who_wants_to_know_of_the_end_is_told_once_and_before_the_readers() -> None:
    log, order = make_log(), []
    log.when_closed(lambda: order.append("closed"))
    reader = asyncio.create_task(read(log))
    reader.add_done_callback(lambda _: order.append("read"))
    await asyncio.sleep(0)
    close(log)
    await reader
    await asyncio.sleep(0)
    log.when_closed(lambda: order.append("late"))

    assert order == ["closed", "read", "late"]


async def test_it_says_when_its_last_reader_leaves_before_the_end() -> None:
    log, unread = make_log("a"), []
    log.when_unread(lambda: unread.append(log.readers))
    one, other = log.follow(after=0), log.follow(after=0)
    await anext(one)
    await anext(other)
    assert log.readers == 2

    await one.aclose()
    assert unread == []
    await other.aclose()
    assert unread == [0]


async def test_who_only_looks_on_does_not_count_as_a_reader() -> None:
    log = make_log("a")
    looking = log.follow(after=0, counts=False)
    await anext(looking)

    assert log.readers == 0
    await looking.aclose()


async def test_a_reader_of_a_log_that_ended_does_not_leave_it_unread() -> None:
    log, unread = make_log("a"), []
    log.when_unread(lambda: unread.append(True))
    close(log)
    await read(log)

    assert unread == []


async def test_a_log_may_begin_where_another_was_forgotten() -> None:
    log = make_log(offset=41)
    close(log)

    assert log.count == 42
    assert [each.sequence for each in await read(log)] == [42]
    assert [each.sequence for each in await read(log, after=41)] == [42]
    assert await read(log, after=42) == []


async def test_waiting_for_a_reply_tells_why_there_is_none() -> None:
    log = make_log()
    log.append(MessageFailed(message_id=log.message_id, error="upstream_failed", detail="No model could answer."))

    with pytest.raises(ServiceUnavailable):
        await log.wait_for_reply()


def test_what_was_encoded_elsewhere_is_the_same_event() -> None:
    log = AnswerLog(USER, uuid4())
    ending = MessageInterrupted(message_id=log.message_id)
    log.append_encoded("content.delta", b'{"text":"a"}')
    log.append_encoded("message.interrupted", encode(ending))

    assert log.is_closed
    assert log.ending == ending
    assert [each.event for each in log.events()] == [ContentDelta(text="a"), ending]


async def test_a_reader_may_know_more_than_a_log_has_heard_of_yet() -> None:
    log = make_log("a")
    reader = asyncio.create_task(read(log, after=2))
    await asyncio.sleep(0)
    log.append(ContentDelta(text="b"))
    log.append(ContentDelta(text="c"))
    close(log)

    assert [each.sequence for each in await reader] == [3, 4]
    assert log.events(after=99) == []


async def test_who_is_let_go_gets_what_is_there_and_no_last_event() -> None:
    log = make_log("a")
    reader, caller = asyncio.create_task(read(log)), asyncio.create_task(log.wait_for_reply())
    await asyncio.sleep(0)
    log.break_off()

    assert [each.name for each in await reader] == ["content.delta"]
    with pytest.raises(ServiceUnavailable):
        await caller


async def test_a_log_repeats_another_behind_what_it_holds() -> None:
    other = make_log("a", "b", "c")
    log = AnswerLog(USER, other.message_id, offset=1)
    repeating = asyncio.create_task(log.repeat(other))
    await asyncio.sleep(0)
    close(other)

    assert await repeating
    assert log.events() == other.events(after=1)


async def test_it_says_when_the_other_did_not_tell_the_end() -> None:
    other, log = make_log("a"), make_log()
    repeating = asyncio.create_task(log.repeat(other))
    await asyncio.sleep(0)
    other.break_off()

    assert not await repeating
    assert [each.sequence for each in log.events()] == [1]


def test_only_an_empty_log_can_begin_behind_another_number() -> None:
    log = make_log(offset=3)
    log.begin_behind(40)
    close(log)

    assert [each.sequence for each in log.events(after=3)] == [41]
    with pytest.raises(RuntimeError):
        log.begin_behind(50)
