"""The planner marks what is expected to be read again, and learns from every answer what that is."""

from typing import Any

import pytest

from app.openrouter.cache_blocks import BlockReader
from app.openrouter.cache_prints import CachedCall, print_of
from app.openrouter.cache_rules import cache_rules
from app.openrouter.cache_shadow import Live
from app.openrouter.catalog import shipped_catalog
from app.openrouter.prompt_cache import CachePlan, CachePlanner, CachePolicy, CacheUsage

CLAUDE, QWEN, GPT = "anthropic/claude-sonnet-4.6", "qwen/qwen-plus", "openai/gpt-5.6-sol"
RULES = "Answer from the sources. " * 400
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


class Desk:
    """People who ask; a vendor that finds whatever the planner believes to be there."""

    def __init__(self, model: str = CLAUDE) -> None:
        self.planner = CachePlanner()
        self.model = model
        self._people = 0

    def ask(self, messages: list[dict[str, Any]], now: float, name: str, **more: Any) -> CachePlan:
        plan = self.planner.plan(messages, self.model, now=now, conversation=name, user=name, **more)
        total, live = plan.ticket.blocks.ends[-1], plan.ticket.live
        read = plan.ticket.blocks.ends[live.block] if live else 0
        usage = CacheUsage(prompt_tokens=total, cached_tokens=read, cache_write_tokens=total - read)
        self.planner.observe(plan.ticket, usage)
        return plan

    def converse(self, start: float, *, gap: float, turns: int, documents: bool = False) -> CachePlan:
        """A conversation of its own; the plan of its last turn."""
        self._people += 1
        name, said = f"person {self._people}", [{"role": "system", "content": RULES}]
        for turn in range(turns):
            question = f"question {turn} of {name} " * 40
            newest: Any = question
            kinds: Any = [["history"] for _ in said] + [["user"]]
            if documents:
                found = f"document {turn} for {name} " * 800
                newest = [{"type": "text", "text": found}, {"type": "text", "text": question}]
                kinds[-1] = ["rag", "user"]
            kinds[0] = ["system"]
            plan = self.ask([*said, {"role": "user", "content": newest}], start + turn * gap, name, kinds=kinds)
            said += [{"role": "user", "content": question}, {"role": "assistant", "content": f"answer {turn} " * 200}]
        return plan


def ttl_at_the_end(plan: CachePlan) -> str | None:
    """How long the whole prompt is asked to be kept."""
    last = len(plan.ticket.blocks) - 1
    return next((point.ttl for point in plan.breakpoints if point.block == last), None)


class TestRhythm:
    def test_people_who_answer_within_minutes_are_kept_for_minutes_or_longer(self) -> None:
        desk = Desk()
        for number in range(30):
            plan = desk.converse(number * HOUR, gap=2 * MINUTE, turns=6)

        assert ttl_at_the_end(plan) is not None

    def test_people_who_need_a_quarter_of_an_hour_are_kept_for_an_hour(self) -> None:
        desk = Desk()
        for number in range(30):
            plan = desk.converse(number * HOUR, gap=15 * MINUTE, turns=6)

        assert ttl_at_the_end(plan) == "1h"

    def test_people_who_come_once_leave_only_what_others_share(self) -> None:
        desk = Desk()
        for number in range(60):
            plan = desk.converse(number * 2 * MINUTE, gap=0, turns=1)

        assert [point.block for point in plan.breakpoints] == [0]

    def test_people_who_come_back_tomorrow_find_nothing_and_pay_for_nothing(self) -> None:
        desk = Desk()
        for number in range(60):
            plan = desk.converse(number * HOUR, gap=DAY, turns=3)

        assert ttl_at_the_end(plan) is None

    def test_qwen_keeps_nothing_for_people_who_need_a_quarter_of_an_hour(self) -> None:
        desk = Desk(QWEN)
        for number in range(60):
            plan = desk.converse(number * HOUR, gap=15 * MINUTE, turns=6)

        assert ttl_at_the_end(plan) is None

    def test_a_prefix_nobody_else_asks_for_within_the_hour_is_not_kept_for_all(self) -> None:
        desk = Desk()
        for number in range(60):
            plan = desk.converse(number * DAY, gap=0, turns=1)

        assert plan.breakpoints == ()


class TestDocuments:
    def test_what_is_gone_in_the_next_turn_is_left_unmarked(self) -> None:
        desk = Desk()
        for number in range(20):
            plan = desk.converse(number * 10 * MINUTE, gap=MINUTE, turns=4, documents=True)
        documents_at = len(plan.ticket.blocks) - 2

        assert plan.ticket.blocks.kinds[documents_at] == "rag"
        assert [point for point in plan.breakpoints if point.block >= documents_at] == []
        assert any(point.block == documents_at - 1 for point in plan.breakpoints)


class TestVendor:
    def test_what_was_read_is_marked_again_so_that_it_lives_on(self) -> None:
        desk = Desk()
        first = desk.converse(0, gap=0, turns=1)
        second = desk.converse(MINUTE, gap=0, turns=1)

        assert second.ticket.live is not None
        assert second.ticket.live.block in [point.block for point in second.breakpoints]
        assert first.ticket.live is None

    def test_gpt_is_asked_for_the_same_place_again(self) -> None:
        desk = Desk(GPT)
        desk.converse(0, gap=0, turns=1)
        second = desk.converse(MINUTE, gap=0, turns=1)

        assert second.ticket.live is not None
        assert second.ticket.live.block in [point.block for point in second.breakpoints]

    def test_what_was_not_found_is_forgotten_and_written_anew(self) -> None:
        desk = Desk()
        messages = [{"role": "system", "content": RULES}, {"role": "user", "content": "question " * 500}]
        desk.ask(messages, 0, "somebody")
        lost = desk.planner.plan(messages, CLAUDE, now=MINUTE, conversation="somebody")
        total = lost.ticket.blocks.ends[-1]
        assert lost.ticket.live is not None
        desk.planner.observe(lost.ticket, CacheUsage(prompt_tokens=total, cached_tokens=0, cache_write_tokens=0))

        assert desk.planner.plan(messages, CLAUDE, now=2 * MINUTE, conversation="somebody").ticket.live is None

    def test_a_process_that_never_saw_the_conversation_goes_by_what_its_last_call_left(self) -> None:
        said = [{"role": "system", "content": RULES}, {"role": "user", "content": "question " * 500}]
        ticket = CachePlanner().plan(said, CLAUDE, now=0, policy=CachePolicy(strategy="conversation")).ticket
        left = CachedCall(
            model=CLAUDE,
            provider="Anthropic",
            began_at=0.0,
            tokens=ticket.blocks.ends[-1],
            printed=print_of(ticket.blocks, ticket.breakpoints),
        )
        longer = [*said, {"role": "assistant", "content": "answer"}, {"role": "user", "content": "and then?"}]

        found = CachePlanner().plan(longer, CLAUDE, now=200.0, conversation="c", earlier=[left])
        lapsed = CachePlanner().plan(longer, CLAUDE, now=400.0, conversation="c", earlier=[left])
        other = CachePlanner().plan(longer, "anthropic/claude-opus-5", now=200.0, conversation="c", earlier=[left])

        assert found.ticket.live == Live(1, 300.0)
        assert 1 in [point.block for point in found.breakpoints]
        assert (lapsed.ticket.live, other.ticket.live) == (None, None)

    def test_a_minimum_higher_than_published_is_learned_and_doubted_again(self) -> None:
        planner = CachePlanner()
        messages = [{"role": "system", "content": RULES}, {"role": "user", "content": "question"}]
        for at in range(3):
            plan = planner.plan(messages, CLAUDE, now=at * MINUTE, conversation=str(at))
            assert bool(plan.breakpoints) is (at < 2)
            nothing = CacheUsage(prompt_tokens=plan.ticket.blocks.ends[-1], cached_tokens=0, cache_write_tokens=0)
            planner.observe(plan.ticket, nothing)

        longer = [{"role": "system", "content": RULES * 4}, messages[1]]
        assert planner.plan(longer, CLAUDE, now=4 * MINUTE, conversation="x").breakpoints
        assert planner.plan(messages, CLAUDE, now=2 * HOUR, conversation="y").breakpoints

    def test_answers_that_do_not_count_writes_teach_no_minimum(self) -> None:
        planner = CachePlanner()
        messages = [{"role": "system", "content": RULES}, {"role": "user", "content": "question"}]
        for at in range(4):
            plan = planner.plan(messages, CLAUDE, now=at * MINUTE, conversation=str(at))
            planner.observe(plan.ticket, CacheUsage(prompt_tokens=2_000, cached_tokens=0))

        assert plan.breakpoints

    def test_lengths_are_those_the_vendor_counts(self) -> None:
        planner = CachePlanner()
        short = [{"role": "system", "content": "Answer from the sources. " * 160}, {"role": "user", "content": "q"}]
        estimated = planner.plan(short, CLAUDE, now=0).ticket
        assert estimated.blocks.ends[0] > 1_024
        for at in range(20):
            ticket = planner.plan(short, CLAUDE, now=at * MINUTE).ticket
            planner.observe(ticket, CacheUsage(prompt_tokens=ticket.blocks.ends[-1] // 2))

        assert planner.plan(short, CLAUDE, now=30 * MINUTE).breakpoints == ()


class TestRules:
    @pytest.mark.parametrize(
        ("model", "mechanism", "minimum", "read", "writes"),
        [
            ("anthropic/claude-sonnet-5.5", "marks", 512, 0.05, (1.25, 2.0)),
            ("anthropic/claude-sonnet-4.6", "marks", 1_024, 0.1, (1.25, 2.0)),
            ("anthropic/claude-haiku-4.5", "marks", 4_096, 0.1, (1.25, 2.0)),
            ("~anthropic/claude-sonnet-latest", "marks", 512, 0.05, (1.25, 2.0)),
            ("openai/gpt-5.6-luna", "breakpoints", 1_024, 0.1, (1.25,)),
            ("openai/gpt-6.1-sol", "breakpoints", 1_024, 0.05, (1.25,)),
            ("openai/gpt-4o", "automatic", 1_024, 0.5, ()),
            ("google/gemini-2.5-flash", "last_mark", 2_048, 0.1, ()),
            ("qwen/qwen-plus", "marks", 1_024, 0.2, (1.25,)),
            ("google/gemma-4-31b-it", "none", 1_024, 1.0, ()),
        ],
    )
    def test_a_models_row_at_the_catalogues_prices(
        self, model: str, mechanism: str, minimum: int, read: float, writes: tuple[float, ...]
    ) -> None:
        rules = cache_rules(model, shipped_catalog().get(model))

        assert (rules.mechanism, rules.min_tokens) == (mechanism, minimum)
        assert rules.read == pytest.approx(read)
        assert [each.write for each in rules.lifetimes] == pytest.approx(list(writes))


class TestBlocks:
    def test_plain_text_and_one_part_of_it_are_the_same_prefix(self) -> None:
        read = BlockReader().read
        plain = read([{"role": "user", "content": "peace"}])
        parts = read([{"role": "user", "content": [{"type": "text", "text": "peace", "cache_control": {}}]}])

        assert plain.prefixes == parts.prefixes
        assert plain.tokens == parts.tokens

    @pytest.mark.parametrize(
        "other",
        [
            [{"role": "assistant", "content": "peace"}],
            [{"role": "user", "content": "peace."}],
            [{"role": "user", "content": "peace", "tool_call_id": "1"}],
        ],
    )
    def test_another_role_text_or_call_is_another_prefix(self, other: list[dict[str, Any]]) -> None:
        read = BlockReader().read

        assert read([{"role": "user", "content": "peace"}]).prefixes != read(other).prefixes

    def test_what_follows_never_changes_a_prefix(self) -> None:
        messages = [{"role": "system", "content": RULES}] + [{"role": "user", "content": str(at)} for at in range(9)]
        longest = BlockReader().read(messages).prefixes

        assert all(BlockReader().read(messages[:count]).prefixes == longest[:count] for count in range(1, 10))
        assert len(set(longest)) == 10

    def test_a_late_system_message_counts_as_the_vendor_counts_it(self) -> None:
        late = [{"role": "user", "content": "one"}, {"role": "system", "content": RULES}]

        assert BlockReader().read(late).places == [(1, 0), (0, 0)]
