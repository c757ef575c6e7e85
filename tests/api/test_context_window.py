"""Conversations longer than their context over HTTP: told, summarised or cut, and with a beginning that stays."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import Message, UsageEvent
from app.db.repositories.branches import Branch, Branches
from app.domain.context_window import Room
from app.domain.plans import PlanTier
from app.domain.principal import Role
from app.domain.quotas import Amounts
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.conversations import add_branch
from tests.support.operators import set_plan
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio
PARAGRAPH = "patience and prayer " * 60  # about 340 tokens
SUMMARY_OPENING = "<summary>"


async def settle(app: ServedApp) -> None:
    """Let what runs beside the answers end."""
    await app.services.follow_ups.drain(20)


async def turns(app: ServedApp, person: Person, conversation_id: str, count: int, **body: Any) -> list[dict[str, Any]]:
    """So many turns of about 420 tokens, one after the other; the replies."""
    replies = []
    for number in range(count):
        answer = await person.chat(conversation_id, f"{number}: {PARAGRAPH}", max_tokens=60, **body)
        assert answer.status_code == 200, answer.text
        replies.append(answer.json())
        await settle(app)
    return replies


def asked(openrouter: EmulatorProcess, conversation_id: str) -> list[list[dict[str, Any]]]:
    """The messages of each call for an answer of this conversation."""
    return [each["body"]["messages"] for each in openrouter.requests(session_id=conversation_id)]


def completions(openrouter: EmulatorProcess) -> list[dict[str, Any]]:
    """The bodies of all calls of a model."""
    return [each["body"] for each in openrouter.requests() if each["method"] == "POST"]


def front(messages: list[dict[str, Any]]) -> str:
    """The beginning of a prompt: the system prompt and the first thing said."""
    return repr(messages[:2])


async def rows(app: ServedApp, person: Person, table: type[Any]) -> list[Any]:
    async with app.services.database.read_only() as uow:
        return list((await uow._session.scalars(select(table).where(table.user_id == person.user_id))).all())


class TestSummarised:
    @pytest.fixture
    async def app(self, serve_app: Serve) -> ServedApp:
        return await serve_app(summarise_context=True)

    async def test_a_free_plans_4000_tokens_never_end_a_conversation(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        replies = await turns(app, person, conversation_id, 14)

        prompts = asked(openrouter, conversation_id)
        assert len(prompts) == 14
        assert max(each["usage"]["prompt_tokens"] for each in replies) < 4_000
        summarised = [each for each in prompts if SUMMARY_OPENING in repr(each[1]["content"])]
        assert len(summarised) >= 5
        assert all(each[0] == prompts[0][0] for each in prompts)  # the system prompt is never touched
        assert all(
            [m["role"] for m in each[1:]] == ["user", "assistant"] * (len(each) // 2 - 1) + ["user"] for each in prompts
        )
        fronts = [front(each) for each in prompts]
        changes = sum(before != after for before, after in pairwise(fronts))
        assert 1 <= changes <= 4, changes

    async def test_the_person_is_told_in_the_stream_in_the_reply_and_in_the_conversation(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        await turns(app, person, conversation_id, 11)
        events = await person.stream(conversation_id, "What did I ask first?", max_tokens=20)

        (told,) = (each.data for each in events if each.name == "context.trimmed")
        sent = asked(openrouter, conversation_id)[-1]
        assert told["kept_messages"] == len(sent) - 2
        assert told["summarised_messages"] > 0
        assert told["kept_messages"] + told["summarised_messages"] + told["left_out_messages"] == 22
        assert events[-1].data["usage"]["prompt_tokens"] <= told["tokens"] < 4_000
        note = f"{told['summarised_messages']} earlier messages went along as a summary."
        assert note in events[-1].data["notes"]
        shown = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
        assert note in shown[-1]["notes"]
        summaries = [index for index, each in enumerate(shown) if each["role"] == "summary"]
        assert summaries
        for index in summaries:
            assert shown[index]["parent_id"] == shown[index - 1]["id"]
            assert shown[index]["status"] == "completed"
        newest = shown[summaries[-1]]
        assert newest["content"] in sent[1]["content"][0]["text"]

    async def test_a_summary_costs_the_account_money_but_no_message(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        await turns(app, person, await person.begin(), 7)

        lines = await rows(app, person, UsageEvent)
        paid = [each for each in lines if each.kind == "summary"]
        assert len(paid) == 1
        assert (paid[0].messages, paid[0].message_id) == (0, None)
        usage = await person.usage()
        assert usage["messages"]["used"] == 7
        assert Decimal(str(usage["total_cost_usd"])) == Decimal(str(openrouter.bill()["total"]))
        (kept,) = [each for each in await rows(app, person, Message) if each.role == "summary"]
        assert kept.total_cost_usd == paid[0].cost_usd

    async def test_the_summary_reads_the_covered_part_once_and_then_builds_on_itself(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        await turns(app, person, await person.begin(), 14)

        calls = [each["messages"][1]["content"] for each in completions(openrouter) if "session_id" not in each]
        assert len(calls) >= 2
        assert calls[0].startswith("Person: 0: ")
        assert calls[1].startswith("Memory so far:\n")
        read = [sum(f"\n\nPerson: {number}: " in f"\n\n{each}" for each in calls) for number in range(14)]
        assert read == sorted(read, reverse=True)
        assert read[0] == 1

    async def test_the_branches_that_go_through_it_share_it(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        replies = await turns(app, person, conversation_id, 11)
        made = len([each for each in await rows(app, person, Message) if each.role == "summary"])
        url = f"/api/v1/chat/messages/{replies[-1]['message_id']}/regenerate"
        assert (await person.http.post(url, json={"max_tokens": 20})).status_code == 200
        await settle(app)

        before, after = asked(openrouter, conversation_id)[-2:]
        assert front(after) == front(before)
        assert SUMMARY_OPENING in front(after)
        assert len([each for each in await rows(app, person, Message) if each.role == "summary"]) == made

    async def test_what_fits_a_larger_window_is_sent_whole_again(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        await turns(app, person, conversation_id, 11)
        assert SUMMARY_OPENING in front(asked(openrouter, conversation_id)[-1])
        operator = await join_app(app, role=Role.ADMIN)
        assert (await set_plan(operator, person, "premium")).status_code == 200
        events = await person.stream(conversation_id, "And now?", max_tokens=20)

        sent = asked(openrouter, conversation_id)[-1]
        assert len(sent) == 24
        assert SUMMARY_OPENING not in repr(sent)
        assert "context.trimmed" not in {each.name for each in events}

    async def test_without_a_model_for_it_the_history_is_cut_and_the_turn_goes_on(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        app = await serve_app(summarise_context=True, llm_summary_model="nobody/knows-this")
        person = await join_app(app)
        conversation_id = await person.begin()
        replies = await turns(app, person, conversation_id, 9)

        assert "were left out" in " ".join(replies[-1]["notes"])
        assert SUMMARY_OPENING not in repr(asked(openrouter, conversation_id))
        assert [each for each in await rows(app, person, Message) if each.role == "summary"] == []

    async def test_whose_month_is_spent_is_not_charged_for_a_summary(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        ids = await add_branch(app.services.database, person.user_id, conversation_id, messages=40, tokens_each=70)
        async with app.services.database.unit_of_work() as uow:
            period = (await app.services.subscriptions.get(person.user_id)).period
            await uow.quotas.lock_period(person.user_id, period)
            spent = Amounts(cost_usd=Decimal(1))
            await uow.quotas.charge(person.user_id, period.start, spent, cache_savings_usd=Decimal(0))
            await uow.commit()
        await app.services.follow_ups._summaries.make_if_due(person.user_id, ids[-1], Room(2_800, 100))

        assert completions(openrouter) == []

    async def test_a_conversation_deleted_while_its_summary_is_made_stays_deleted(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        ids = await add_branch(app.services.database, person.user_id, conversation_id, messages=40, tokens_each=70)
        openrouter.configure(first_token_delay=0.4)
        making = asyncio.create_task(
            app.services.follow_ups._summaries.make_if_due(person.user_id, ids[-1], Room(2_800, 100))
        )
        while not completions(openrouter):  # noqa: ASYNC110  (another process knows)
            await asyncio.sleep(0.02)
        assert (await person.http.delete(f"/api/v1/conversations/{conversation_id}")).status_code == 204
        await making

        assert await rows(app, person, Message) == []
        (line,) = await rows(app, person, UsageEvent)
        assert line.kind == "summary"

    async def test_where_a_long_system_prompt_leaves_no_room_none_is_made(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        preset = {"name": "Long", "slug": "long", "model": "openai/gpt-4o-mini", "system_prompt": "Be kind. " * 1_200}
        preset_id = (await person.http.post("/api/v1/presets", json=preset)).json()["id"]
        await turns(app, person, await person.begin(), 4, preset_id=preset_id)

        assert len(completions(openrouter)) == 4  # a summary of a few tokens would say nothing

    async def test_a_refusal_is_no_summary(self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess) -> None:
        person = await join_app(app)
        ids = await add_branch(app.services.database, person.user_id, await person.begin(), messages=40, tokens_each=70)
        openrouter.fault("refusal")
        await app.services.follow_ups._summaries.make_if_due(person.user_id, ids[-1], Room(2_800, 100))

        assert "summary" not in {each.role for each in await rows(app, person, Message)}
        assert [each.kind for each in await rows(app, person, UsageEvent)] == ["summary"]

    async def test_a_short_conversation_is_never_summarised(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await person.begin()
        await turns(app, person, conversation_id, 3)

        assert len(completions(openrouter)) == 3


class TestCut:
    """Where summaries are switched off."""

    async def test_it_is_cut_in_big_steps_and_told(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        replies = await turns(app, person, conversation_id, 14)

        prompts = asked(openrouter, conversation_id)
        assert max(each["usage"]["prompt_tokens"] for each in replies) < 4_000
        fronts = [front(each) for each in prompts]
        assert 1 <= sum(before != after for before, after in pairwise(fronts)) <= 4
        assert len(prompts) == len(completions(openrouter)) == 14
        shown = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
        left_out = 28 - 2 - (len(prompts[-1]) - 2)
        assert shown[-1]["notes"][-1] == f"{left_out} earlier messages were left out: there was no room for them."

    async def test_models_too_short_for_the_conversation_are_not_fallen_back_on(
        self, app: ServedApp, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        person = await join_app(app, plan=PlanTier.PREMIUM)
        fallbacks = {"model": "anthropic/claude-sonnet-5.5", "fallback_models": ["openai/gpt-4o"], "max_tokens": 20}
        short, long = await person.begin(), await person.begin()
        text = "x" * 6_000
        await add_branch(app.services.database, person.user_id, long, messages=90, text=text, tokens_each=1_675)
        answers = [(await person.chat(each, **fallbacks)).json() for each in (short, long)]

        asked_models = [
            openrouter.requests(session_id=each)[-1]["body"].get("models", ["anthropic/claude-sonnet-5.5"])
            for each in (short, long)
        ]
        assert [len(each) for each in asked_models] == [2, 1]
        assert not any("fall back" in each for each in answers[0]["notes"])
        assert "Too short for this conversation to fall back on: 'openai/gpt-4o'." in answers[1]["notes"]

    async def test_no_more_is_loaded_than_may_be_sent(self, app: ServedApp, join_app: Join) -> None:
        person = await join_app(app)
        conversation_id = await person.begin()
        await add_branch(
            app.services.database, person.user_id, conversation_id, messages=400, text="x" * 1_000, tokens_each=285
        )
        with loaded_branches(app) as lengths:
            answer = await person.chat(conversation_id, max_tokens=20)

        assert answer.status_code == 200, answer.text
        assert lengths == [16]  # 4,000 tokens, and the one that passes them


@contextmanager
def loaded_branches(app: ServedApp) -> Iterator[list[int]]:
    """How many messages each turn inside the block reads."""
    lengths: list[int] = []
    read = Branches._read

    async def noting(self: Branches, *args: Any, **values: Any) -> Branch | None:
        branch = await read(self, *args, **values)
        lengths.append(len(branch.messages) if branch else 0)
        return branch

    Branches._read = noting  # type: ignore[method-assign]
    try:
        yield lengths
    finally:
        Branches._read = read  # type: ignore[method-assign]
