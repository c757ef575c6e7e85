"""Billing periods: whatever the anchor, every instant lies in exactly one."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.periods import Period, period_containing

INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (see timezones)
TEN_YEARS = timedelta(days=3_653)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def walk(anchor: datetime, *, until: datetime) -> list[Period]:
    """The periods from the anchor on, each found by the end of the one before."""
    periods = [period_containing(anchor, anchor)]
    while periods[-1].end < until:
        periods.append(period_containing(anchor, periods[-1].end))
    return periods


@given(anchor=INSTANTS)
def test_ten_years_of_periods_have_no_gap_overlap_or_double(anchor: datetime) -> None:
    periods = walk(anchor, until=anchor + TEN_YEARS)

    assert periods[0].start == anchor
    assert all(before.end == after.start for before, after in pairwise(periods))
    assert all(each.start < each.end for each in periods)
    assert len(periods) in (120, 121)


@pytest.mark.parametrize("time_of_day", [time.min, time(11, 30), time.max], ids=str)
@pytest.mark.parametrize("year", [2023, 2024], ids=["common year", "leap year"])
def test_every_anchor_day_begins_one_period_in_each_month_of_ten_years(year: int, time_of_day: time) -> None:
    first = datetime.combine(date(year, 1, 1), time_of_day, UTC)
    for anchor in (first + timedelta(days=day) for day in range(366 if year == 2024 else 365)):
        starts = [each.start for each in walk(anchor, until=anchor + TEN_YEARS)]
        months = [(each.year, each.month) for each in starts]

        assert months == list(months_from(anchor.year, anchor.month, len(starts)))
        assert [each.day for each in starts] == [min(anchor.day, days_in(*month)) for month in months]
        assert {each.time() for each in starts} == {time_of_day}


def months_from(year: int, month: int, count: int) -> Iterator[tuple[int, int]]:
    for _ in range(count):
        yield year, month
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


@cache
def days_in(year: int, month: int) -> int:
    following = date(year, month + 1, 1) if month < 12 else date(year + 1, 1, 1)
    return (following - date(year, month, 1)).days


@given(anchor=INSTANTS, now=INSTANTS)
def test_every_instant_lies_in_the_period_found_for_it(anchor: datetime, now: datetime) -> None:
    period = period_containing(anchor, now)

    assert period.start <= now < period.end


@given(anchor=INSTANTS, now=INSTANTS)
def test_every_instant_of_a_period_finds_the_same_one(anchor: datetime, now: datetime) -> None:
    period = period_containing(anchor, now)

    assert period_containing(anchor, period.start) == period
    assert period_containing(anchor, period.end - timedelta(microseconds=1)) == period
    assert period_containing(anchor, period.end) != period


@given(anchor=INSTANTS, now=INSTANTS)
def test_a_period_begins_at_the_anchors_time_of_day_on_its_day_or_the_months_last(
    anchor: datetime, now: datetime
) -> None:
    start = period_containing(anchor, now).start
    is_last_day = (start + timedelta(days=1)).month != start.month

    assert start.timetz() == anchor.timetz()
    assert start.day == anchor.day or (start.day < anchor.day and is_last_day)


@pytest.mark.parametrize(
    ("anchor", "now", "start", "end"),
    [
        pytest.param(utc(2026, 1, 15), utc(2026, 2, 1), utc(2026, 1, 15), utc(2026, 2, 15), id="an ordinary month"),
        pytest.param(utc(2026, 1, 31), utc(2026, 2, 28), utc(2026, 2, 28), utc(2026, 3, 31), id="back to the 31st"),
        pytest.param(
            utc(2026, 1, 31), utc(2026, 4, 30), utc(2026, 4, 30), utc(2026, 5, 31), id="the 30th for the 31st"
        ),
        pytest.param(utc(2024, 2, 29), utc(2025, 2, 28), utc(2025, 2, 28), utc(2025, 3, 29), id="no leap day"),
        pytest.param(utc(2024, 2, 29), utc(2028, 2, 29), utc(2028, 2, 29), utc(2028, 3, 29), id="the next leap day"),
        pytest.param(utc(2026, 12, 10), utc(2027, 1, 9), utc(2026, 12, 10), utc(2027, 1, 10), id="over new year"),
        pytest.param(utc(2026, 1, 15, 18), utc(2026, 2, 15, 17), utc(2026, 1, 15, 18), utc(2026, 2, 15, 18), id="hour"),
        pytest.param(utc(2026, 1, 15), utc(2025, 12, 31), utc(2025, 12, 15), utc(2026, 1, 15), id="before the anchor"),
    ],
)
def test_periods_by_example(anchor: datetime, now: datetime, start: datetime, end: datetime) -> None:
    assert period_containing(anchor, now) == Period(start, end)
