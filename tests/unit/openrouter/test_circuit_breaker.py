"""A host that keeps failing is left alone, then probed by one call at a time."""

import pytest

from app.openrouter import errors
from app.openrouter.breaker import BreakerPolicy, CircuitBreaker, outcome_of

POLICY = BreakerPolicy(failures_to_open=3, memory=100, open_for=30, open_at_most=100, probe_for=50)
MODEL, HOST = "a/one", "Groq"


def make_breaker(*failures_at: float, host: str | None = HOST) -> CircuitBreaker:
    breaker = CircuitBreaker(POLICY)
    for now in failures_at:
        breaker.end(MODEL, host, "failed", now)
    return breaker


def failing(breaker: CircuitBreaker, now: float) -> bool:
    return breaker.failing_providers(MODEL, now) == (HOST,)


def test_it_opens_after_failures_in_a_row() -> None:
    assert not failing(make_breaker(0, 1), 2)
    assert failing(make_breaker(0, 1, 2), 3)


def test_an_answer_between_failures_keeps_it_closed() -> None:
    breaker = make_breaker(0, 1)
    breaker.end(MODEL, HOST, "answered", 2)
    breaker.end(MODEL, HOST, "failed", 3)
    assert not failing(breaker, 4)


def test_old_failures_are_forgotten() -> None:
    assert not failing(make_breaker(0, 1, 150), 151)


def test_one_hosts_failures_are_not_the_models() -> None:
    breaker = make_breaker(0, 1, 2)
    assert breaker.admits(MODEL, 3)
    assert breaker.failing_providers("b/other", 3) == ()


def test_failures_that_name_no_host_shut_the_model() -> None:
    breaker = make_breaker(0, 1, 2, host=None)
    assert not breaker.admits(MODEL, 3)
    assert breaker.admits(MODEL, 32)


def test_one_probe_goes_while_others_wait() -> None:
    breaker = make_breaker(0, 1, 2)
    assert failing(breaker, 31.9)
    assert not failing(breaker, 32)
    assert breaker.begin(MODEL, 32) == ((MODEL, HOST),)
    assert failing(breaker, 33)
    assert breaker.begin(MODEL, 33) == ()


def test_a_probe_that_answers_closes_it() -> None:
    breaker = make_breaker(0, 1, 2)
    probes = breaker.begin(MODEL, 32)
    breaker.end(MODEL, HOST, "answered", 33, probes=probes)
    assert not breaker.circuits()


def test_a_probe_that_fails_opens_it_for_twice_as_long() -> None:
    breaker = make_breaker(0, 1, 2)
    breaker.end(MODEL, HOST, "failed", 40, probes=breaker.begin(MODEL, 32))
    assert failing(breaker, 99)
    assert not failing(breaker, 100)


def test_it_never_stays_open_for_longer_than_allowed() -> None:
    breaker, now = make_breaker(0, 1, 2), 2.0
    for _ in range(6):
        now += 100
        breaker.end(MODEL, HOST, "failed", now, probes=breaker.begin(MODEL, now))
    assert failing(breaker, now + 99)
    assert not failing(breaker, now + 100)


def test_a_probe_served_by_another_host_leaves_room_for_the_next() -> None:
    breaker = make_breaker(0, 1, 2)
    breaker.end(MODEL, "OpenAI", "answered", 33, probes=breaker.begin(MODEL, 32))
    assert not failing(breaker, 34)


def test_a_probe_whose_outcome_never_comes_does_not_shut_it_for_ever() -> None:
    breaker = make_breaker(0, 1, 2)
    breaker.begin(MODEL, 32)
    assert failing(breaker, 81)
    assert not failing(breaker, 82)


def test_late_failures_of_older_calls_do_not_lengthen_it() -> None:
    assert not failing(make_breaker(0, 1, 2, 3, 4, 5), 32)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "answered"),
        (errors.TruncatedStream("cut"), "failed"),
        (errors.UpstreamTimeout("silent", phase="stalled"), "failed"),
        (errors.RateLimited("slow"), "failed"),
        (errors.EmptyAnswer("nothing"), "failed"),
        (errors.UpstreamTimeout("far", phase="connect"), "neither"),
        (errors.UpstreamTimeout("long", phase="total"), "neither"),
        (errors.ConnectionFailed("off"), "neither"),
        (errors.BadRequest("no"), "neither"),
        (errors.PaymentRequired("no"), "neither"),
    ],
)
def test_only_what_the_host_did_counts(error: errors.OpenRouterError | None, outcome: str) -> None:
    assert outcome_of(error) == outcome
