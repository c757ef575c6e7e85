"""How plans change over time: whatever people and operators do, nothing is lost, early or late."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.entitlements import LIMIT_NAMES, Count, Entitlement, Why, explain_count, explain_feature
from app.domain.features import Feature
from app.domain.lifecycle import (
    DatedPlan,
    PlanVersion,
    Standing,
    SubscriptionStatus,
    as_record,
    keep,
    put_on,
    request_upgrade,
    schedule,
    standing_at,
)
from app.domain.overrides import OVERRIDABLE, Override, apply_overrides, read_value, write_value
from app.domain.periods import period_containing
from app.domain.plan_comparison import compare, find_over_limit
from app.domain.plans import PLAN_LIMITS, PlanTier
from app.domain.terms import Terms

ANCHOR = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
TICK = timedelta(microseconds=1)
RANK = {plan: rank for rank, plan in enumerate(PlanTier)}
LIMITS = {each.plan: each for each in PLAN_LIMITS}
FREE, PREMIUM, UNLIMITED, ENTERPRISE = (PlanVersion(plan, 1) for plan in PlanTier)
NOW = datetime(2026, 2, 10, tzinfo=UTC)
END = datetime(2026, 2, 28, 9, 30, tzinfo=UTC)


def standing(on: PlanVersion = PREMIUM, **fields: Any) -> Standing:
    return Standing(on=on, anchor_at=ANCHOR, **fields)


class TestStandingAt:
    def test_what_is_scheduled_is_in_force_from_its_instant_on(self) -> None:
        leaving = schedule(standing(UNLIMITED), PREMIUM, now=NOW)

        assert standing_at(leaving, END - TICK).on == UNLIMITED
        assert standing_at(leaving, END).on == PREMIUM
        assert standing_at(leaving, END).status is SubscriptionStatus.ACTIVE

    def test_the_reason_of_a_cancellation_outlives_it(self) -> None:
        left = standing_at(schedule(standing(), FREE, now=NOW, reason="too dear"), END)

        assert (left.on, left.cancel_reason) == (FREE, "too dear")


class TestSchedule:
    @pytest.mark.parametrize(
        ("to", "status"), [(PREMIUM, SubscriptionStatus.CHANGING), (FREE, SubscriptionStatus.CANCELLING)]
    )
    def test_a_smaller_plan_begins_with_the_next_period(self, to: PlanVersion, status: SubscriptionStatus) -> None:
        after = schedule(standing(UNLIMITED), to, now=NOW)

        assert (after.on, after.scheduled, after.status) == (UNLIMITED, DatedPlan(to, END), status)

    def test_the_last_wish_counts(self) -> None:
        after = schedule(schedule(standing(UNLIMITED), PREMIUM, now=NOW), FREE, now=NOW)

        assert after.scheduled == DatedPlan(FREE, END)

    def test_it_takes_back_a_request(self) -> None:
        assert schedule(request_upgrade(standing(), UNLIMITED, now=NOW), FREE, now=NOW).requested is None

    def test_in_a_later_period_it_begins_from_what_is_in_force_then(self) -> None:
        after = schedule(schedule(standing(UNLIMITED), PREMIUM, now=NOW), FREE, now=END)

        assert (after.on, after.scheduled) == (PREMIUM, DatedPlan(FREE, datetime(2026, 3, 31, 9, 30, tzinfo=UTC)))


class TestRequestKeepAndPutOn:
    def test_a_request_changes_nothing_yet(self) -> None:
        after = request_upgrade(standing(), UNLIMITED, now=NOW)

        assert replace(after, requested=None) == standing()
        assert after.requested == DatedPlan(UNLIMITED, NOW)

    def test_keeping_the_plan_forgets_what_was_pending(self) -> None:
        pending = request_upgrade(schedule(standing(), FREE, now=NOW, reason="x"), UNLIMITED, now=NOW)

        assert keep(pending, now=NOW) == standing()

    def test_what_has_taken_effect_cannot_be_taken_back(self) -> None:
        assert keep(schedule(standing(), FREE, now=NOW), now=END).on == FREE

    def test_a_plan_set_at_once_ends_everything_pending(self) -> None:
        pending = request_upgrade(schedule(standing(), FREE, now=NOW), UNLIMITED, now=NOW)

        assert put_on(pending, UNLIMITED, now=NOW) == standing(UNLIMITED)

    def test_the_record_tells_all_of_it(self) -> None:
        pending = request_upgrade(schedule(standing(), FREE, now=NOW, reason="x"), UNLIMITED, now=NOW)

        assert as_record(pending) == {
            "plan": "premium",
            "plan_version": 1,
            "status": "cancelling",
            "scheduled": {"plan": "free", "version": 1, "at": END.isoformat()},
            "requested": {"plan": "unlimited", "version": 1, "at": NOW.isoformat()},
            "cancel_reason": "x",
        }


# Years of changes, by any sequence


@dataclass(frozen=True)
class Step:
    """Something somebody does ``after`` the step before."""

    after: timedelta
    deed: str
    plan: PlanTier


STEPS = st.lists(
    st.builds(
        Step,
        after=st.timedeltas(timedelta(0), timedelta(days=70)),
        deed=st.sampled_from(["change", "cancel", "resume", "confirm"]),
        plan=st.sampled_from(PlanTier),
    ),
    max_size=40,
)
ANCHORS = st.datetimes(datetime(2023, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  (see timezones)


def act(before: Standing, step: Step, now: datetime) -> Standing:
    present = standing_at(before, now)
    if step.deed == "resume":
        return keep(present, now=now)
    if step.deed == "cancel":
        return present if present.on.plan is PlanTier.FREE else schedule(present, FREE, now=now)
    if step.deed == "confirm":
        return put_on(present, present.requested.to, now=now) if present.requested else present
    if step.plan is present.on.plan:
        return present
    to = PlanVersion(step.plan, 1)
    if present.is_upgrade(step.plan):
        return request_upgrade(present, to, now=now)
    return schedule(present, to, now=now)


class Calendar:
    """The same rules told differently: walks from period to period, and turns the page at each end."""

    def __init__(self, anchor: datetime, plan: PlanTier) -> None:
        self.period = period_containing(anchor, anchor)
        self.anchor, self.plan = anchor, plan
        self.next: PlanTier | None = None
        self.wanted: PlanTier | None = None

    def turn_to(self, now: datetime) -> None:
        while self.period.end <= now:
            self.period = period_containing(self.anchor, self.period.end)
            if self.next is not None:
                self.plan, self.next = self.next, None

    def act(self, step: Step) -> None:
        if step.deed == "resume":
            self.next = self.wanted = None
        elif step.deed == "confirm":
            if self.wanted:
                self.plan, self.next, self.wanted = self.wanted, None, None
        elif step.deed == "cancel" or RANK[step.plan] < RANK[self.plan]:
            target = PlanTier.FREE if step.deed == "cancel" else step.plan
            if self.plan is not PlanTier.FREE:
                self.next, self.wanted = target, None
        elif RANK[step.plan] > RANK[self.plan]:
            self.wanted = step.plan


def live(anchor: datetime, steps: list[Step]) -> Iterator[tuple[datetime, Standing, Standing, Step]]:
    """Each step's instant with the standing before and after it."""
    now, present = anchor, Standing(on=PREMIUM, anchor_at=anchor)
    for step in steps:
        now += step.after
        after = act(present, step, now)
        yield now, present, after, step
        present = after


class TestAnySequence:
    @given(anchor=ANCHORS, steps=STEPS)
    def test_the_ceiling_is_right_at_every_instant(self, anchor: datetime, steps: list[Step]) -> None:
        calendar = Calendar(anchor, PlanTier.PREMIUM)
        for now, before, after, step in live(anchor, steps):
            calendar.turn_to(now)
            assert standing_at(before, now).on.plan is calendar.plan
            calendar.act(step)
            assert standing_at(after, now).on.plan is calendar.plan
            assert standing_at(after, calendar.period.end - TICK).on.plan is calendar.plan
            assert standing_at(after, calendar.period.end).on.plan is (calendar.next or calendar.plan)

    @given(anchor=ANCHORS, steps=STEPS)
    def test_within_a_period_the_ceiling_only_rises(self, anchor: datetime, steps: list[Step]) -> None:
        seen = [
            (period_containing(anchor, now), RANK[standing_at(each, now).on.plan])
            for now, before, after, _ in live(anchor, steps)
            for each in (before, after)
        ]
        assert all(one <= two for (start, one), (end, two) in pairwise(seen) if start == end)

    @given(anchor=ANCHORS, steps=STEPS)
    def test_no_change_resets_what_is_used(self, anchor: datetime, steps: list[Step]) -> None:
        used: dict[datetime, int] = {}
        for now, before, after, _ in live(anchor, steps):
            key = period_containing(before.anchor_at, now).start
            used[key] = used.get(key, 0) + 1
            assert used[period_containing(after.anchor_at, now).start] == used[key]

    @given(anchor=ANCHORS, steps=STEPS)
    def test_what_is_scheduled_lies_ahead_and_below(self, anchor: datetime, steps: list[Step]) -> None:
        for now, _, after, _ in live(anchor, steps):
            if after.scheduled is not None:
                assert after.scheduled.at == period_containing(anchor, now).end > now
                assert RANK[after.scheduled.plan] < RANK[after.on.plan]
            if after.requested is not None:
                assert RANK[after.requested.plan] > RANK[after.on.plan]


# Overrides


class TestOverrides:
    def test_an_override_holds_until_its_instant(self) -> None:
        agreed = [Override("messages_per_month", 5, END)]
        premium = LIMITS[PlanTier.PREMIUM]

        assert apply_overrides(premium, agreed, END - TICK) == replace(premium, messages_per_month=5)
        assert apply_overrides(premium, agreed, END) == premium

    def test_without_an_end_it_holds_for_good(self) -> None:
        agreed = [Override("requests_per_minute", 3_000, None), Override("image_generation", False, None)]
        limits = apply_overrides(LIMITS[PlanTier.ENTERPRISE], agreed, datetime(2100, 1, 1, tzinfo=UTC))

        assert (limits.requests_per_minute, limits.image_generation) == (3_000, False)

    def test_everything_a_plan_limits_can_be_agreed_upon_but_its_price_and_name(self) -> None:
        fields = set(LIMITS[PlanTier.FREE].__slots__)

        assert fields - set(OVERRIDABLE) == {"plan", "price_usd_per_month"}
        assert set(OVERRIDABLE) <= fields

    @pytest.mark.parametrize(
        ("name", "raw", "value"),
        [
            ("messages_per_month", 0, 0),
            ("messages_per_month", "250000", 250_000),
            ("tokens_per_month", 10**15 - 1, 10**15 - 1),
            ("cost_ceiling_usd_per_month", "12.50", Decimal("12.50")),
            ("cost_ceiling_usd_per_month", 7, Decimal(7)),
            ("image_generation", "true", True),
            ("web_search", False, False),
        ],
    )
    def test_values_are_read_from_json_and_from_words(self, name: str, raw: object, value: object) -> None:
        read = read_value(name, raw)

        assert (read, type(read)) == (value, type(value))
        assert read_value(name, write_value(read)) == read

    @pytest.mark.parametrize(
        ("name", "raw"),
        [
            ("messages_per_month", -1),
            ("messages_per_month", True),
            ("messages_per_month", 1.5),
            ("messages_per_month", "-1"),
            ("messages_per_month", "٣"),
            ("messages_per_month", 2**31),
            ("requests_per_minute", 0),
            ("cost_ceiling_usd_per_month", "NaN"),
            ("cost_ceiling_usd_per_month", "-0.01"),
            ("cost_ceiling_usd_per_month", "much"),
            ("cost_ceiling_usd_per_month", True),
            ("image_generation", 1),
            ("image_generation", "yes"),
            ("price_usd_per_month", 1),
            ("plan", "free"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, name: str, raw: object) -> None:
        with pytest.raises(ValueError, match=r"must be|no limit of that name"):
            read_value(name, raw)


# Explanations


def terms(plan: PlanVersion, *overrides: Override) -> Terms:
    return Terms(standing(plan), {plan: LIMITS[plan.plan]}, overrides)


class TestExplain:
    def test_every_feature_can_be_asked_about(self) -> None:
        assert {each.value for each in Entitlement} == {each.value for each in Feature} | {
            each.value for each in LIMIT_NAMES
        }

    def test_the_plan_decides(self) -> None:
        said = explain_feature(Feature.PDF_PROCESSING, terms(FREE), NOW, switched_on=True)

        assert (said.allowed, said.why, said.available_in) == (False, Why.PLAN, PlanTier.PREMIUM)
        assert said.detail == "Pdf processing is not part of the Free plan. It is part of the Premium plan."

    def test_an_override_decides_over_the_plan_while_it_holds(self) -> None:
        agreed = terms(FREE, Override("pdf_processing", True, END))
        during, after = (explain_feature(Feature.PDF_PROCESSING, agreed, at, switched_on=True) for at in (NOW, END))

        assert (during.allowed, during.why, during.expires_at, during.available_in) == (True, Why.OVERRIDE, END, None)
        assert (after.allowed, after.why, after.expires_at) == (False, Why.PLAN, None)

    def test_where_an_agreement_refuses_no_plan_would_help(self) -> None:
        closed = terms(PREMIUM, Override("pdf_processing", False, None), Override("messages_per_month", 1, None))
        feature = explain_feature(Feature.PDF_PROCESSING, closed, NOW, switched_on=True)
        meter = explain_count(Entitlement.MESSAGES, closed, Count(Decimal(1), Decimal(0), END), NOW)

        assert (feature.allowed, feature.why, feature.available_in) == (False, Why.OVERRIDE, None)
        assert (meter.allowed, meter.why, meter.available_in) == (False, Why.OVERRIDE, None)

    def test_the_servers_switch_decides_over_everything(self) -> None:
        agreed = terms(PREMIUM, Override("pdf_processing", True, None))
        said = explain_feature(Feature.PDF_PROCESSING, agreed, NOW, switched_on=False)

        assert (said.allowed, said.why, said.available_in) == (False, Why.SWITCHED_OFF, None)

    @pytest.mark.parametrize(("used", "reserved", "allowed"), [(99, 0, True), (99, 1, False), (100, 0, False)])
    def test_a_meter_allows_while_something_is_left(self, used: int, reserved: int, allowed: bool) -> None:
        count = Count(Decimal(used), Decimal(reserved), END)
        said = explain_count(Entitlement.MESSAGES, terms(FREE), count, NOW)

        assert (said.allowed, said.used, said.limit, said.resets_at) == (allowed, used, 100, END)
        assert said.available_in is (None if allowed else PlanTier.PREMIUM)

    def test_nobody_sells_more_than_the_largest_plan(self) -> None:
        count = Count(Decimal(100_000), Decimal(0), END)

        assert explain_count(Entitlement.MESSAGES, terms(ENTERPRISE), count, NOW).available_in is None


# Two plans side by side


class TestComparison:
    def test_both_sides_of_every_limit_but_the_houses_own(self) -> None:
        changes = {
            each.name: (each.now, each.then) for each in compare(LIMITS[PlanTier.FREE], LIMITS[PlanTier.PREMIUM])
        }

        assert set(changes) == set(OVERRIDABLE) - {"cost_ceiling_usd_per_month"}
        assert changes["messages_per_month"] == (100, 2_000)
        assert changes["web_search"] == (True, True)

    def test_what_would_not_fit_is_told_with_its_numbers(self) -> None:
        used = {"messages_per_month": Decimal(150), "images_per_month": Decimal(5), "max_presets": 4}
        over = find_over_limit(used, LIMITS[PlanTier.FREE])

        assert [(each.name, each.used, each.limit) for each in over] == [
            ("messages_per_month", 150, 100),
            ("max_presets", 4, 3),
        ]
