"""Trying again is decided by what failed and where the turn stands."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.openrouter import errors
from app.openrouter.retries import RetryPolicy, Situation, decide

POLICY = RetryPolicy()


def situation(**changes: Any) -> Situation:
    usual = {"models": ("a/one",), "tries": 1, "others_left": False, "hosts_ignored": False}
    unseen = {"content_came": False, "tool_call_came": False, "attempts_left": 3}
    return Situation(**{**usual, **unseen, **changes})


BUSY = errors.UpstreamUnavailable("busy", status=503)
INVALID = errors.ModelNotFound("b/two is not a valid model ID", status=400)


@pytest.mark.parametrize(
    ("error", "changes", "step"),
    [
        (BUSY, {}, "retry"),
        (BUSY, {"tries": 3}, None),
        (BUSY, {"content_came": True}, "retry"),
        (BUSY, {"content_came": True, "others_left": True}, "next_models"),
        (BUSY, {"content_came": True, "tool_call_came": True, "others_left": True}, None),
        (BUSY, {"content_came": True, "tries": 3}, None),
        (errors.UpstreamTimeout("late", phase="total"), {"content_came": True, "others_left": True}, None),
        (errors.AuthenticationFailed("no"), {"content_came": True, "others_left": True}, None),
        (BUSY, {"attempts_left": 0}, None),
        (BUSY, {"others_left": True}, "retry"),
        (BUSY, {"others_left": True, "tries": 2}, "next_models"),
        (errors.RateLimited("slow", retry_after=300.0), {}, None),
        (errors.RateLimited("slow", retry_after=300.0), {"others_left": True}, "next_models"),
        (errors.UpstreamTimeout("late", phase="first_token"), {}, "retry"),
        (errors.UpstreamTimeout("late", phase="first_token"), {"others_left": True}, "next_models"),
        (errors.UpstreamTimeout("late", phase="total"), {"others_left": True}, None),
        (errors.BadRequest("no"), {}, None),
        (errors.ContextLengthExceeded("long"), {"others_left": True}, "next_models"),
        (errors.Moderated("no"), {"others_left": True}, "next_models"),
        (errors.AuthenticationFailed("no"), {"others_left": True}, None),
        (errors.PaymentRequired("no", retryable=True), {"others_left": True}, None),
        (errors.TruncatedStream("cut"), {}, "retry"),
        (errors.EmptyAnswer("nothing"), {}, "retry"),
        (INVALID, {"models": ("a/one", "b/two"), "others_left": True}, "without_invalid_model"),
        (INVALID, {"models": ("b/two",), "others_left": True}, "next_models"),
        (INVALID, {"models": ("b/two",)}, None),
        (errors.ModelNotFound("none", status=404), {"hosts_ignored": True}, "without_ignored_hosts"),
    ],
)
def test_each_failure_has_its_next_step(error: errors.OpenRouterError, changes: dict[str, Any], step: str) -> None:
    assert decide(error, situation(**changes), POLICY) == step


def test_a_policy_may_forbid_to_take_back_what_was_shown() -> None:
    policy = RetryPolicy(begins_again=False)

    assert decide(BUSY, situation(content_came=True, others_left=True), policy) is None
    assert decide(BUSY, situation(others_left=True), policy) == "retry"


@given(st.integers(1, 12), st.floats(0, 1))
def test_waiting_grows_with_jitter_and_stays_bounded(tries: int, chance: float) -> None:
    wait = POLICY.wait(tries, BUSY, chance)
    assert 0 <= wait <= min(POLICY.longest_wait, POLICY.first_wait * 2 ** (tries - 1))
    assert POLICY.wait(tries, BUSY, 0) == 0


def test_what_the_upstream_asks_for_is_waited_for_in_full() -> None:
    asked = errors.RateLimited("slow", retry_after=7.0)
    assert POLICY.wait(1, asked, 0.0) == 7.0
    assert POLICY.wait(1, asked, 1.0) == 7.5
