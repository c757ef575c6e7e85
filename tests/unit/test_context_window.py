"""What goes along of a long conversation: always what fits, and for many turns with the same beginning."""

from dataclasses import replace
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.domain.context_window import FittedHistory, Room, fit_history, plan_summary, tokens_through
from app.domain.prompting import Said, WireMessage, select_history

ROOM = Room(tokens=1_000, messages=100)


def tokens_of(message: WireMessage) -> int:
    return len(message["content"])


def make_branch(*lengths: int) -> list[Said]:
    """Questions and answers in turn, each of so many tokens."""
    said: list[Said] = []
    before = 0
    for index, length in enumerate(lengths):
        role = "assistant" if index % 2 else "user"
        parent = UUID(int=index) if index else None
        said.append(Said(UUID(int=index + 1), parent, role, f"{index % 10}" * length, True, index, before))
        before += length
    return said


def fit(said: list[Said], *, free: int = 1_000, room: Room = ROOM) -> FittedHistory:
    return fit_history(said, room, free=free, tokens_of=tokens_of)


def with_summary(said: list[Said], index: int, text: str = "s" * 50) -> list[Said]:
    return [replace(each, summary=text) if each.depth == index else each for each in said]


class TestFitHistory:
    def test_what_fits_goes_along_whole(self) -> None:
        fitted = fit(make_branch(*[100] * 10))

        assert len(fitted.messages) == 10
        assert not fitted.is_trimmed

    def test_what_fits_goes_along_whole_though_there_is_a_summary(self) -> None:
        fitted = fit(with_summary(make_branch(*[100] * 10), 5))

        assert (len(fitted.messages), fitted.summary) == (10, "")

    def test_a_summary_stands_for_what_does_not_fit(self) -> None:
        fitted = fit(with_summary(make_branch(*[100] * 12), 5))

        assert (len(fitted.messages), fitted.summarised, fitted.left_out) == (6, 6, 0)
        assert fitted.summary == "s" * 50

    def test_the_newest_summary_counts(self) -> None:
        branch = with_summary(with_summary(make_branch(*[100] * 20), 3, "old"), 13, "new")

        assert (fit(branch).summary, fit(branch).summarised) == ("new", 14)

    def test_behind_a_summary_too_it_is_cut_when_it_does_not_fit(self) -> None:
        fitted = fit(with_summary(make_branch(*[100] * 24), 5))

        assert fitted.summarised == 6
        assert fitted.left_out > 0
        assert fitted.summarised + fitted.left_out + len(fitted.messages) == 24
        assert sum(map(tokens_of, fitted.messages)) + 50 <= 1_000

    def test_a_summary_that_does_not_fit_is_left_out(self) -> None:
        fitted = fit(with_summary(make_branch(*[100] * 12), 5, "s" * 300), free=250)

        assert fitted.summary == ""
        assert (len(fitted.messages), fitted.left_out) == (2, 10)

    def test_without_room_nothing_goes_along(self) -> None:
        assert fit(make_branch(100, 100), free=150) == FittedHistory([], left_out=2)

    def test_where_there_is_no_room_cutting_is_no_work_either(self) -> None:
        counted = []

        def counting(message: WireMessage) -> int:
            counted.append(message)
            return len(message["content"])

        branch = make_branch(*[1_000] * 20)
        fitted = fit_history(branch, Room(tokens=0, messages=100), free=2_500, tokens_of=counting)

        assert (len(fitted.messages), fitted.left_out) == (2, 18)
        assert len(counted) < 20 * 20

    def test_too_many_messages_are_cut_too(self) -> None:
        fitted = fit(make_branch(*[1] * 14), room=Room(tokens=1_000, messages=8))

        assert (len(fitted.messages), fitted.left_out) == (6, 8)

    def test_a_history_of_no_messages_sends_none(self) -> None:
        branch = with_summary(make_branch(*[1] * 4), 1)

        assert fit(branch, room=Room(tokens=1_000, messages=0)) == FittedHistory([], left_out=4)

    def test_nothing_said_is_nothing_trimmed(self) -> None:
        assert not fit([]).is_trimmed

    @given(
        lengths=st.lists(st.integers(1, 400), min_size=1, max_size=30).map(
            lambda found: [x for x in found for _ in "qa"]
        ),
        free=st.integers(0, 1_500),
        summary=st.none() | st.integers(0, 29),
        messages=st.integers(0, 40),
    )
    def test_it_always_fits_and_ends_with_the_newest(
        self, lengths: list[int], free: int, summary: int | None, messages: int
    ) -> None:
        branch = make_branch(*lengths)
        if summary is not None:
            branch = with_summary(branch, summary * 2 + 1)
        fitted = fit(branch, free=free, room=Room(tokens=1_000, messages=messages))

        used = sum(map(tokens_of, fitted.messages)) + len(fitted.summary)
        assert used <= free
        assert len(fitted.messages) <= messages
        assert list(fitted.messages) == select_history(branch)[len(branch) - len(fitted.messages) :]
        assert fitted.summarised + fitted.left_out + len(fitted.messages) == len(branch)

    @given(lengths=st.lists(st.integers(5, 60), min_size=20, max_size=80))
    def test_the_beginning_stays_for_many_turns(self, lengths: list[int]) -> None:
        branch = make_branch(*(length for each in lengths for length in (each, each)))
        beginnings = [
            fit(branch[:end]).messages[0]["content"] + str(fit(branch[:end]).left_out)
            for end in range(2, len(branch) + 1, 2)
        ]
        changes = sum(before != after for before, after in pairwise(beginnings))

        # Each cut leaves out half a room, up to one pair more or less.
        assert changes <= 2 * sum(lengths) / (ROOM.step - 120) + 1


class TestTokensThrough:
    def test_an_answered_branch_counts_whole(self) -> None:
        assert tokens_through(make_branch(10, 20, 30, 40), tokens_of) == 100

    def test_a_pair_that_is_not_sent_does_not_count(self) -> None:
        *said, last = make_branch(10, 20, 30, 40)

        assert tokens_through([*said, replace(last, is_usable=False)], tokens_of) == 30

    def test_nothing_is_nothing(self) -> None:
        assert tokens_through([], tokens_of) == 0


class TestPlanSummary:
    def plan(self, said: list[Said], *, capacity: int = 10_000, room: Room = ROOM) -> int:
        return len(plan_summary(said, room, capacity=capacity, tokens_of=tokens_of))

    def test_nothing_is_due_while_there_is_room(self) -> None:
        assert self.plan(make_branch(*[75] * 10)) == 0

    def test_it_leaves_a_quarter_of_the_room_as_it_is(self) -> None:
        assert self.plan(make_branch(*[76] * 10)) == 8

    def test_the_newest_pair_stays_however_long(self) -> None:
        assert self.plan(make_branch(10, 10, 10, 5_000)) == 2

    def test_one_long_pair_cannot_be_summarised(self) -> None:
        assert self.plan(make_branch(10, 5_000)) == 0

    def test_it_is_due_by_number_too(self) -> None:
        assert self.plan(make_branch(*[1] * 16), room=Room(tokens=1_000, messages=20)) == 12

    def test_it_builds_on_the_summary_before_and_counts_from_there(self) -> None:
        said = with_summary(make_branch(*[76] * 22), 11)[11:]

        assert [self.plan(said[:9]), self.plan(said)] == [0, 9]
        assert self.plan(with_summary(make_branch(*[62] * 24), 11)[11:]) == 0

    def test_no_more_than_its_model_can_read(self) -> None:
        assert self.plan(make_branch(*[100] * 40), capacity=1_000) == 10

    @given(lengths=st.lists(st.integers(1, 300), min_size=2, max_size=40))
    def test_what_it_covers_ends_with_an_answer(self, lengths: list[int]) -> None:
        branch = make_branch(*(length for each in lengths for length in (each, each)))
        covered = plan_summary(branch, ROOM, capacity=5_000, tokens_of=tokens_of)

        assert not covered or (covered[-1].role == "assistant" and len(covered) <= len(branch) - 2)
