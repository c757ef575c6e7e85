"""Running answers: seen through, stopped, left alone, handed over."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.coordination.coordination import Coordination
from app.core.config import load_settings
from app.core.errors import ServiceUnavailable
from app.db.database import Database
from app.services import generation_hub
from app.services.answer_log import AnswerLog
from app.services.chat_events import ContentDelta, MessageInterrupted
from app.services.closing import uninterrupted
from app.services.generation_hub import DISCONNECTED, STOPPED, GenerationHub
from app.services.shared_answers import SharedAnswers

pytestmark = pytest.mark.anyio

USER = uuid4()


def make_hub(**changes: Any) -> GenerationHub:
    settings = load_settings(_env_file=None, **changes)
    database = Database(lambda: settings.resolved_database_url)
    shared = SharedAnswers(settings=lambda: settings, coordination=Coordination(lambda: None), database=database)
    return GenerationHub(settings=lambda: settings, shared=shared)


class Endless:
    """An answer that goes on until it is cancelled, and notes why."""

    def __init__(self, hub: GenerationHub) -> None:
        self.hub = hub
        self.reasons: list[str | None] = []

    async def __call__(self, answer: AnswerLog) -> None:
        answer.append(ContentDelta(text="begun"))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.reasons.append(self.hub.stop_reason(answer))
            answer.append(MessageInterrupted(message_id=answer.message_id))


def start(hub: GenerationHub) -> tuple[AnswerLog, Endless]:
    answer, endless = hub.prepare(USER, uuid4()), Endless(hub)
    hub.start(answer, endless)
    return answer, endless


async def test_a_stop_ends_the_task_and_says_why() -> None:
    hub = make_hub()
    answer, endless = start(hub)
    await asyncio.sleep(0)

    assert hub.stop(USER, answer.message_id)
    await answer.wait_for_end()

    assert endless.reasons == [STOPPED]


async def test_what_is_stopped_before_its_first_step_still_closes_itself() -> None:
    hub = make_hub()
    answer, endless = start(hub)

    assert hub.stop(USER, answer.message_id)  # the task has not run yet
    await answer.wait_for_end()

    assert endless.reasons == [STOPPED]
    assert [each.name for each in answer.events()] == ["content.delta", "message.interrupted"]


@pytest.mark.parametrize("user_id", [uuid4()])
async def test_somebody_elses_answer_is_neither_found_nor_stopped(user_id: UUID) -> None:
    hub = make_hub()
    answer, endless = start(hub)
    await asyncio.sleep(0)

    assert hub.find(user_id, answer.message_id) is None
    assert not hub.stop(user_id, answer.message_id)
    assert endless.reasons == []
    hub.stop(USER, answer.message_id)
    await answer.wait_for_end()


async def test_a_second_stop_does_not_disturb_the_closing_of_the_first() -> None:
    hub = make_hub()
    answer = hub.prepare(USER, uuid4())
    closed = []

    async def slow_to_close(answer: AnswerLog) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            closed.append(True)
            answer.append(MessageInterrupted(message_id=answer.message_id))

    hub.start(answer, slow_to_close)
    await asyncio.sleep(0)
    hub.stop(USER, answer.message_id)
    await asyncio.sleep(0.01)
    hub.stop(USER, answer.message_id)
    await answer.wait_for_end()

    assert closed == [True]


async def test_an_answer_nobody_reads_goes_on_by_default() -> None:
    hub = make_hub(on_disconnect_cancel_seconds=0)
    answer, endless = start(hub)
    reader = answer.follow(after=0)
    await anext(reader)
    await reader.aclose()
    await asyncio.sleep(0.02)

    assert endless.reasons == []
    hub.stop(USER, answer.message_id)
    await answer.wait_for_end()


async def test_where_it_is_to_be_cancelled_it_is_after_a_while() -> None:
    hub = make_hub(on_disconnect="cancel", on_disconnect_cancel_seconds=0.02)
    answer, endless = start(hub)
    reader = answer.follow(after=0)
    await anext(reader)
    await reader.aclose()
    await asyncio.sleep(0.1)

    assert endless.reasons == [DISCONNECTED]


async def test_who_comes_back_in_time_saves_it() -> None:
    hub = make_hub(on_disconnect="cancel", on_disconnect_cancel_seconds=0.05)
    answer, endless = start(hub)
    reader = answer.follow(after=0)
    await anext(reader)
    await reader.aclose()
    await asyncio.sleep(0.01)
    again = answer.follow(after=0)
    await anext(again)
    await asyncio.sleep(0.1)

    assert endless.reasons == []
    hub.stop(USER, answer.message_id)
    await answer.wait_for_end()
    await again.aclose()


async def test_a_log_is_kept_for_a_while_after_the_end() -> None:
    hub = make_hub(answer_log_keep_seconds=0.05)
    answer, _ = start(hub)
    await asyncio.sleep(0)
    hub.stop(USER, answer.message_id)
    await answer.wait_for_end()
    await asyncio.sleep(0.01)

    assert hub.find(USER, answer.message_id) is answer
    assert hub.running == 0
    await asyncio.sleep(0.1)
    assert hub.find(USER, answer.message_id) is None


async def test_draining_gives_a_grace_time_then_hands_over() -> None:
    hub = make_hub()
    late, endless = start(hub)
    quick = hub.prepare(USER, uuid4())

    async def nearly_done(answer: AnswerLog) -> None:
        await asyncio.sleep(0.02)
        answer.append(MessageInterrupted(message_id=answer.message_id))

    hub.start(quick, nearly_done)
    draining = asyncio.create_task(hub.drain(0.1))
    await asyncio.sleep(0.05)
    with pytest.raises(ServiceUnavailable):
        hub.refuse_when_draining()
    assert quick.is_closed
    assert not late.is_closed
    await draining

    assert endless.reasons == [None]
    assert late.is_closed


async def test_a_defect_still_ends_the_log() -> None:
    hub = make_hub()
    answer = hub.prepare(USER, uuid4())

    async def broken(_answer: AnswerLog) -> None:
        raise ZeroDivisionError

    hub.start(answer, broken)

    assert (await answer.wait_for_end()).name == "message.failed"


async def test_a_retelling_ends_with_its_last_reader() -> None:
    hub = make_hub()
    answer, endless = AnswerLog(USER, uuid4()), Endless(hub)
    hub.retell(answer, endless)
    reader = answer.follow(after=0)
    await anext(reader)
    await reader.aclose()
    await asyncio.sleep(0.01)

    assert endless.reasons == [None]
    assert hub.find(USER, answer.message_id) is None


@pytest.mark.parametrize("times", [1, 3])
async def test_uninterrupted_work_ends_before_the_cancellation_goes_on(times: int) -> None:
    done = []

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.append(True)

    task = asyncio.create_task(uninterrupted(work()))
    for _ in range(times):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_who_leaves_again_has_the_whole_time_again() -> None:
    hub = make_hub(on_disconnect="cancel", on_disconnect_cancel_seconds=0.3)
    answer, endless = start(hub)
    for _ in range(2):
        reader = answer.follow(after=0)
        await anext(reader)
        await reader.aclose()
        await asyncio.sleep(0.2)

    assert endless.reasons == []  # 0.4 s after the first time, 0.2 s after the second
    await asyncio.sleep(0.3)
    assert endless.reasons == [DISCONNECTED]


async def test_an_answer_that_nobody_ever_read_is_cancelled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_hub, "FIRST_READER_SECONDS", 0.05)
    hub = make_hub(on_disconnect="cancel", on_disconnect_cancel_seconds=0)
    _, endless = start(hub)
    await asyncio.sleep(0.02)
    assert endless.reasons == []

    await asyncio.sleep(0.2)
    assert endless.reasons == [DISCONNECTED]


async def test_an_answer_that_is_about_to_start_is_waited_for() -> None:
    hub = make_hub()
    answer = hub.prepare(USER, uuid4())
    draining = asyncio.create_task(hub.drain(0.1))
    await asyncio.sleep(0.02)
    endless = Endless(hub)
    hub.start(answer, endless)
    await draining

    assert endless.reasons == [None]
    assert answer.is_closed


async def test_what_starts_after_the_grace_time_ends_with_its_first_step() -> None:
    hub = make_hub()
    answer = hub.prepare(USER, uuid4())
    draining = hub.begin_draining(0)
    await draining
    hub.start(answer, Endless(hub))
    await answer.wait_for_end()

    assert hub.begin_draining(60) is draining
    with pytest.raises(ServiceUnavailable):
        hub.refuse_when_draining()
    await hub.drain(60)
    hub.refuse_when_draining()


async def test_who_is_told_of_an_answer_elsewhere_is_let_go_without_an_ending() -> None:
    hub, telling = make_hub(), AnswerLog(USER, uuid4())

    async def wait(_: AnswerLog) -> None:
        await asyncio.sleep(60)

    hub.retell(telling, wait)
    await hub.drain(0.05)

    assert telling.is_broken_off
    assert not telling.is_closed
