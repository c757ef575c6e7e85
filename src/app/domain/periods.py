"""Billing periods are keys computed from the subscription's anchor: there is no reset job to be late."""

import calendar
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Period:
    """One billing month ``[start, end)``, both aware instants in UTC."""

    start: datetime
    end: datetime


def period_containing(anchor: datetime, now: datetime) -> Period:
    """The billing period of a subscription anchored at ``anchor`` that holds ``now`` (both aware, UTC).

    Periods begin a whole number of months after the anchor, at its time of day; a day the month lacks (29th to 31st)
    becomes its last day, and later months return to the anchor's own day.
    """
    months = (now.year - anchor.year) * 12 + now.month - anchor.month
    if _months_after(anchor, months) > now:
        months -= 1
    return Period(_months_after(anchor, months), _months_after(anchor, months + 1))


def _months_after(anchor: datetime, months: int) -> datetime:
    year, month_index = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    last_day = calendar.monthrange(year, month_index + 1)[1]
    return anchor.replace(year=year, month=month_index + 1, day=min(anchor.day, last_day))
