"""The parts of the planner: rhythm, placement, and the picture of what a vendor's cache holds."""

import random
from itertools import product

import pytest

from app.openrouter.cache_placement import NOWHERE, Ahead, Cut, cheapest_cut
from app.openrouter.cache_rhythm import Bounded, Feature, Rhythm, bucket_of, log_odds
from app.openrouter.cache_rules import cache_rules
from app.openrouter.cache_shadow import Live, Shadow
from app.openrouter.cache_value import Costs, covers, spread, steady

CLAUDE = cache_rules("anthropic/claude-sonnet-4.6")
HALF = (0.0, 0.0, 0.0)


def is_legal(cut: Cut, first: int, live: int, *, may_be_long: bool) -> bool:
    is_reached = cut.end == live or cut.end >= max(first, live + 1)
    is_long = cut.long_end == live or (may_be_long and cut.long_end >= max(first, live + 1))
    return is_reached and is_long and cut.long_end <= cut.end


def cost_of(cut: Cut, tokens: list[int], values: list[Costs], live: int, ahead: Ahead) -> float:
    total = 0.0
    for at in range(live + 1, len(tokens)):
        price, state = (2.0, 2) if at <= cut.long_end else (1.25, 1) if at <= cut.end else (1.0, 0)
        total += tokens[at] * (price + values[at][state])
    later = ahead.unwritten if cut.end == live else ahead.long if cut.long_end == cut.end else ahead.short
    return total + later


class TestPlacement:
    def test_no_other_cut_is_cheaper(self) -> None:
        chance = random.Random(7)  # noqa: S311  (not for secrets)
        for _ in range(3_000):
            count = chance.randint(1, 6)
            tokens = [chance.randint(1, 50) for _ in range(count)]
            values: list[Costs] = [tuple(chance.uniform(0, 3) for _ in range(3)) for _ in range(count)]
            first, live, state = chance.randrange(count), chance.randrange(NOWHERE, count), chance.choice([1, 2])
            ahead = Ahead(*(chance.uniform(0, 20) for _ in range(3)))
            may_be_long = live == NOWHERE or state == 2

            found = cheapest_cut(CLAUDE, tokens, values, first, live, state, ahead)

            cuts = [Cut(long_end, end) for long_end, end in product(range(live, count), repeat=2)]
            legal = [cut for cut in cuts if is_legal(cut, first, live, may_be_long=may_be_long)]
            counted = ahead if may_be_long else Ahead()
            prices = {cut: cost_of(cut, tokens, values, live, counted) for cut in legal}
            assert found in prices
            assert prices[found] == pytest.approx(min(prices.values()), abs=1e-6)


class TestRhythm:
    def test_an_early_return_counts_only_when_the_late_ones_could_be_known_too(self) -> None:
        rhythm, features = Rhythm(), (Feature("all", 1.0),)
        rhythm.begin(0.0, features).gap = 10.0
        rhythm.settle(299.0)
        assert rhythm.chances(features) == (0.5, 0.5, 0.5)

        rhythm.settle(301.0)
        assert rhythm.chances(features)[0] > 0.5

    def test_what_never_returns_lowers_every_chance(self) -> None:
        rhythm, features = Rhythm(), (Feature("all", 1.0),)
        rhythm.begin(0.0, features)
        rhythm.settle(3_601.0)

        assert all(chance < 0.5 for chance in rhythm.chances(features))

    def test_chances_come_close_to_how_often_it_happened(self) -> None:
        rhythm, features = Rhythm(), (Feature("all", 0.3, HALF), Feature("stage", 0.1))
        for number in range(3_000):
            rhythm.begin(number, features).gap = 60.0 if number % 10 < 3 else 1_000.0 if number % 10 < 6 else None
        rhythm.settle(1e9)
        within_5_minutes, within_30, within_60 = rhythm.chances(features)

        assert within_5_minutes == pytest.approx(0.3, abs=0.06)
        assert within_30 == pytest.approx(3 / 7, abs=0.08)
        assert within_60 < 0.05

    def test_a_feature_of_its_own_departs_from_what_all_do(self) -> None:
        rhythm, everybody = Rhythm(), Feature("all", 0.3)
        slow, quick = (everybody, Feature("slow", 0.5)), (everybody, Feature("quick", 0.5))
        for number in range(400):
            rhythm.begin(number, slow)
            rhythm.begin(number, quick).gap = 30.0
        rhythm.settle(1e9)

        assert rhythm.chances(quick)[0] - rhythm.chances(slow)[0] > 0.6
        assert 0.2 < rhythm.chances((everybody,))[0] < 0.8

    def test_old_keys_are_forgotten_first(self) -> None:
        kept: Bounded[str, int] = Bounded(2)
        for key in "ab":
            kept.put(key, 1)
        kept.touch("a")
        kept.put("c", 1)

        assert list(kept) == ["a", "c"]

    @pytest.mark.parametrize(("gap", "bucket"), [(0, 0), (300, 0), (300.1, 1), (1_800, 1), (3_600, 2), (3_601, 3)])
    def test_gaps_fall_into_horizons(self, gap: float, bucket: int) -> None:
        assert bucket_of(gap) == bucket

    def test_log_odds_of_a_half_are_nothing(self) -> None:
        assert log_odds(0.5) == 0.0


class TestValue:
    def test_what_is_never_asked_again_is_worth_nothing_in_any_state(self) -> None:
        assert steady(CLAUDE, covers(CLAUDE), (0.0, 0.0, 0.0), 1.0) == (0.0, 0.0, 0.0)

    def test_what_always_returns_within_minutes_costs_reading_alone_once_written(self) -> None:
        uncached, short, long = steady(CLAUDE, covers(CLAUDE), (1.0, 0.0, 0.0), 1.0, rounds=1)

        assert (uncached, short, long) == (1.0, CLAUDE.read, CLAUDE.read)

    def test_what_returns_after_ten_minutes_is_found_by_the_long_life_only(self) -> None:
        uncached, short, long = steady(CLAUDE, covers(CLAUDE), (0.0, 1.0, 0.0), 1.0, rounds=1)

        assert (uncached, short, long) == (1.0, 1.0, CLAUDE.read)

    def test_a_cache_that_does_not_hold_is_worth_less(self) -> None:
        sure, unsure = (steady(CLAUDE, covers(CLAUDE), (0.9, 0.0, 0.0), hold)[1] for hold in (1.0, 0.5))

        assert unsure > sure

    def test_chances_spread_over_horizons(self) -> None:
        assert spread((0.5, 0.5, 0.5)) == (0.5, 0.25, 0.125)


class TestShadow:
    def test_a_written_prefix_is_found_until_its_time_is_over(self) -> None:
        shadow = Shadow()
        shadow.replay("m", [1, 2, 3], [(1, 300.0)], None, 0.0)

        assert shadow.deepest("m", [1, 2, 9], 300.0) == Live(1, 300.0)
        assert shadow.deepest("m", [1, 2, 9], 301.0) is None
        assert shadow.deepest("other", [1, 2, 9], 10.0) is None

    def test_reading_begins_its_life_anew(self) -> None:
        shadow = Shadow()
        shadow.replay("m", [1], [(0, 300.0)], None, 0.0)
        shadow.replay("m", [1], [(0, 300.0)], Live(0, 300.0), 200.0)

        assert shadow.deepest("m", [1], 499.0) == Live(0, 300.0)

    def test_behind_a_short_life_nothing_lives_longer(self) -> None:
        shadow = Shadow()
        shadow.replay("m", [1], [(0, 300.0)], None, 0.0)
        shadow.replay("m", [1, 2], [(0, 3_600.0), (1, 3_600.0)], Live(0, 300.0), 100.0)

        assert shadow.deepest("m", [1, 2], 399.0) == Live(1, 300.0)
        assert shadow.deepest("m", [1, 2], 401.0) is None

    def test_behind_a_long_life_either_is_possible(self) -> None:
        shadow = Shadow()
        shadow.replay("m", [1], [(0, 3_600.0)], None, 0.0)
        shadow.replay("m", [1, 2], [(0, 3_600.0), (1, 300.0)], Live(0, 3_600.0), 100.0)

        assert shadow.deepest("m", [1, 2], 399.0) == Live(1, 300.0)
        assert shadow.deepest("m", [1, 2], 500.0) == Live(0, 3_600.0)
