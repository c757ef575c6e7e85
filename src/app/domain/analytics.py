"""What charts are asked for and how they are read off sums: ranges of local days, rates, percentiles."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from app.domain.plans import PlanTier
from app.domain.rollups import ERROR, FIRST_TOKEN, LATENCY, SLOT_SECONDS, percentile_ms, slot_of

DEFAULT_DAYS = 30
MOST_DAYS = 731
DAYS_A_MONTH = Decimal("30.4375")
"""A plan's price by the day: a year has 365.25 of them."""

Row = dict[str, Any]


class UnevenZone(ValueError):
    """The zone's days do not begin on a half hour of UTC."""


@dataclass(frozen=True, slots=True)
class DayRange:
    """Days of a time zone, both ends included."""

    first: date
    last: date
    zone: ZoneInfo

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1

    @property
    def begin(self) -> datetime:
        """The instant the first day begins."""
        return _midnight(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The instant after the last day."""
        return _midnight(self.last + timedelta(days=1), self.zone)

    @property
    def slots(self) -> tuple[int, int]:
        """The first half hour, and the one after the last."""
        return slot_of(self.begin), slot_of(self.end)

    def before(self) -> "DayRange":
        """As many days, just before."""
        return DayRange(self.first - timedelta(days=self.days), self.first - timedelta(days=1), self.zone)

    def offsets(self) -> list[tuple[int, int]]:
        """From which half hour on which offset to UTC holds, in half hours; raises :class:`UnevenZone`."""
        first, after = self.slots
        found = [(first, self._offset(first))]
        for day in range(first, after, 48):
            end = min(day + 48, after) - 1
            if self._offset(end) != found[-1][1]:  # clocks were changed on that day
                changed = next(slot for slot in range(day, end + 1) if self._offset(slot) != found[-1][1])
                found.append((changed, self._offset(changed)))
        return found

    def _offset(self, slot: int) -> int:
        instant = datetime.fromtimestamp(slot * SLOT_SECONDS, UTC).astimezone(self.zone)
        seconds = int((instant.utcoffset() or timedelta()).total_seconds())
        if seconds % SLOT_SECONDS:
            raise UnevenZone(f"{self.zone.key} is not a whole number of half hours from UTC")
        return seconds // SLOT_SECONDS


@dataclass(frozen=True, slots=True)
class Filters:
    """What a chart is about; ``None``: everything."""

    days: DayRange
    plan: PlanTier | None = None
    model: str | None = None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def local_day(number: int) -> date:
    """A day by its number since 1970."""
    return date(1970, 1, 1) + timedelta(days=number)


def ratio(part: int, whole: int) -> float | None:
    """``None`` of nothing."""
    return part / whole if whole else None


def usage_numbers(sums: Mapping[str, Any]) -> Row:
    """What is told of some sums of ``system_usage``."""
    prompt, completion = int(sums["prompt_tokens"]), int(sums["completion_tokens"])
    read = int(sums["cached_tokens_read"])
    return {
        "requests": int(sums["requests"]),
        "messages": int(sums["messages"]),
        "images": int(sums["images"]),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "tokens": prompt + completion,
        "cached_tokens_read": read,
        "cached_tokens_write": int(sums["cached_tokens_write"]),
        "cache_hit_rate": ratio(read, prompt),
        "cost_usd": Decimal(sums["cost_usd"]),
        "cache_savings_usd": Decimal(sums["cache_discount_usd"]),
    }


def added(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> Row:
    """The sums of some columns over all rows."""
    kept = list(rows)
    return {name: sum((row[name] or 0 for row in kept), 0) for name in names}


def quality_numbers(sums: Mapping[str, Any]) -> Row:
    """How answers ended, in parts of them: those that were asked for, whole or not."""
    answers, failed, stopped = (int(sums[name]) for name in ("answers", "failed", "stopped"))
    ended = answers + failed + stopped
    return {
        "answers": answers,
        "failed": failed,
        "stopped": stopped,
        "fallback_rate": ratio(int(sums["fallbacks"]), ended),
        "truncation_rate": ratio(int(sums["truncated"]), answers),
        "error_rate": ratio(failed, ended),
        "schema_failure_rate": ratio(int(sums["schema_failures"]), int(sums["schema_answers"])),
    }


def speeds(tallies: Iterable[tuple[str, str, int]]) -> Row:
    """Percentiles in ms, and errors by code, from (measure, value, answers)."""
    buckets: dict[str, dict[int, int]] = {FIRST_TOKEN: defaultdict(int), LATENCY: defaultdict(int)}
    errors: dict[str, int] = defaultdict(int)
    for measure, value, answers in tallies:
        if measure in buckets:
            buckets[measure][int(value)] += int(answers)
        elif measure == ERROR:
            errors[value] += int(answers)
    first, whole = buckets[FIRST_TOKEN], buckets[LATENCY]
    return {
        "first_token_p50_ms": percentile_ms(first, 0.5),
        "first_token_p95_ms": percentile_ms(first, 0.95),
        "latency_p50_ms": percentile_ms(whole, 0.5),
        "latency_p95_ms": percentile_ms(whole, 0.95),
        "latency_p99_ms": percentile_ms(whole, 0.99),
        "errors": dict(sorted(errors.items())),
    }


def revenue(price: Decimal, since: date, days: DayRange, today: date) -> Decimal:
    """What a plan brings in for the days of a range that it ran: from ``since`` on, and not beyond today."""
    first, last = max(since, days.first), min(days.last, today)
    return price * max(0, (last - first).days + 1) / DAYS_A_MONTH
