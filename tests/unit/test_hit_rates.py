"""A drop of the hit rate is noticed soon, told once, and told again only after it has recovered."""

import random

from app.domain.hit_rates import WARM_UP_CALLS, Drop, HitRate

PROMPT = 1_000


def feed(rate: HitRate, share: float, calls: int) -> list[Drop]:
    told = (rate.observe(read=round(PROMPT * share), prompt=PROMPT) for _ in range(calls))
    return [each for each in told if each]


def test_a_drop_is_told_once_with_both_rates() -> None:
    rate = HitRate()
    assert feed(rate, 0.8, 200) == []
    (drop,) = feed(rate, 0.0, 60)
    assert 0.7 < drop.before <= 0.8
    assert drop.after < 0.6 * drop.before


def test_it_is_noticed_within_a_few_calls() -> None:
    rate = HitRate()
    feed(rate, 0.8, 200)
    assert feed(rate, 0.0, 15)


def test_after_a_recovery_it_is_told_again() -> None:
    rate = HitRate()
    feed(rate, 0.8, 200)
    assert len(feed(rate, 0.0, 30)) == 1
    assert feed(rate, 0.8, 200) == []
    assert len(feed(rate, 0.0, 30)) == 1


def test_a_low_rate_becomes_usual_in_the_end() -> None:
    rate = HitRate()
    feed(rate, 0.8, 200)
    assert len(feed(rate, 0.1, 5_000)) == 1


def test_nobody_is_warned_before_it_is_known_what_is_usual() -> None:
    rate = HitRate()
    assert feed(rate, 0.9, WARM_UP_CALLS - 20) + feed(rate, 0.0, 20) == []


def test_what_never_was_high_has_nothing_to_lose() -> None:
    rate = HitRate()
    assert feed(rate, 0.15, 300) + feed(rate, 0.0, 300) == []


def test_ordinary_ups_and_downs_are_no_drop() -> None:
    chance, rate = random.Random(7), HitRate()  # noqa: S311 - repeatable on purpose
    assert [drop for _ in range(5_000) for drop in feed(rate, chance.choice([0.0, 0.9, 0.9, 0.9]), 1)] == []


def test_large_prompts_weigh_more() -> None:
    rate = HitRate()
    rate.observe(read=0, prompt=10)
    rate.observe(read=9_000, prompt=10_000)
    assert rate.rate > 0.89
