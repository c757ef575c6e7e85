"""What follows from the ledger: the month's counters and the sums for charts are recomputed from its lines alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

LOST_ATTEMPT = "lost_attempt"
"""A call that was billed and gave no answer."""

KEEP_ALIVE = "keep_alive"
"""A tiny request that kept a prompt in a cache: nobody had asked for it."""

HOUSE_KINDS = frozenset({LOST_ATTEMPT, KEEP_ALIVE})
"""Lines the house pays: they count against nobody's plan."""

PDF_OCR = "pdf_ocr"
"""What recognising the pages of documents cost beside the model: a part of one call's bill, in a line of its own."""

WEB_SEARCH = "web_search"
"""What searching the web cost beside the model; ``searches`` of the line says how often it was done."""

FEE_KINDS = frozenset({PDF_OCR, WEB_SEARCH})
"""Lines for services that ran within a call which has a line itself: no requests of their own."""

IMAGE = "image"
"""A call that drew pictures; it counts those that were delivered."""

LATE_BILL = "late_bill"
"""The line for what a call turned out to cost after its own line was written: no request of its own."""

LATE_DISCOUNT = "late_discount"
"""What is looked up of a call whose cost is known, but not what caching saved of it; the line is a late bill of 0."""

NO_REQUESTS = FEE_KINDS | {LATE_BILL}
"""Lines that stand for no request of their own."""

Row = Mapping[str, Any]
"""A row of a table, by column."""

DAILY_KEY = ("user_id", "day", "model", "plan", "kind")
MONTH_KEY = ("user_id", "month", "plan")
USAGE = (
    "requests",
    "messages",
    "images",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens_read",
    "cached_tokens_write",
    "cost_usd",
    "cache_discount_usd",
)
"""What sums of the ledger hold, by column."""

BITS = frozenset({"active_days"})
"""Columns that are sets of days: they are united, not added."""

MonthKey = tuple[UUID, datetime]
DayKey = tuple[UUID, date, str, str, str]
CalendarKey = tuple[UUID, date, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One line of the ledger. Token counts are totals of which the cached ones are parts; unknown money is ``None``."""

    user_id: UUID
    kind: str
    plan: str
    model: str
    period_start: datetime
    created_at: datetime
    messages: int
    images: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens_read: int
    cached_tokens_write: int
    cost_usd: Decimal | None
    cache_discount_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Projection:
    """Sums by billing month, by UTC day and by calendar month; each value maps a column's name to its sum."""

    months: dict[MonthKey, dict[str, Any]] = field(default_factory=dict)
    days: dict[DayKey, dict[str, Any]] = field(default_factory=dict)
    calendar: dict[CalendarKey, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored sum that is not what the ledger says."""

    table: str
    key: tuple[Any, ...]
    column: str
    stored: Any
    ledger: Any

    def __str__(self) -> str:
        key = " ".join(str(part) for part in self.key)
        return f"{self.table} {key}: {self.column} is {self.stored}, the ledger says {self.ledger}"


def project(lines: Iterable[LedgerLine]) -> Projection:
    """Add the lines up."""
    projection = Projection()
    for line in lines:
        if line.kind not in HOUSE_KINDS:
            _add(projection.months.setdefault((line.user_id, line.period_start), {}), month_amounts(line))
        day = line.created_at.astimezone(UTC).date()
        key = (line.user_id, day, line.model, line.plan, line.kind)
        amounts = day_amounts(line)
        _add(projection.days.setdefault(key, {}), amounts)
        calendar = monthly_row(dict(zip(DAILY_KEY, key, strict=True)) | amounts)
        month = (line.user_id, calendar["month"], line.plan)
        _add(projection.calendar.setdefault(month, {}), {name: calendar[name] for name in ("active_days", *USAGE)})
    return projection


def month_amounts(line: LedgerLine) -> dict[str, Any]:
    """What a line adds to its billing month, by column of ``monthly_usage_quotas``."""
    return {
        "messages_used": line.messages,
        "tokens_used": line.prompt_tokens + line.completion_tokens,
        "images_used": line.images,
        "cost_usd": line.cost_usd or Decimal(0),
        "cache_savings_usd": line.cache_discount_usd or Decimal(0),
    }


def requests_of(kind: str) -> int:
    """How many requests a line of this kind stands for."""
    return 0 if kind in NO_REQUESTS else 1


def day_amounts(line: LedgerLine) -> dict[str, Any]:
    """What a line adds to its day, by column of ``usage_daily``."""
    return {
        "requests": requests_of(line.kind),
        "messages": line.messages,
        "images": line.images,
        "prompt_tokens": line.prompt_tokens,
        "completion_tokens": line.completion_tokens,
        "cached_tokens_read": line.cached_tokens_read,
        "cached_tokens_write": line.cached_tokens_write,
        "cost_usd": line.cost_usd or Decimal(0),
        "cache_discount_usd": line.cache_discount_usd or Decimal(0),
    }


def monthly_row(daily: Row) -> dict[str, Any]:
    """What a row of ``usage_daily`` adds to its account's calendar month (UTC), as a row of ``usage_monthly``."""
    day: date = daily["day"]
    is_asked_for = daily["requests"] > 0 and daily["kind"] not in HOUSE_KINDS
    return {
        "user_id": daily["user_id"],
        "month": day.replace(day=1),
        "plan": daily["plan"],
        "active_days": 1 << (day.day - 1) if is_asked_for else 0,
        **{name: daily[name] for name in USAGE},
    }


def summed(rows: Iterable[Row], key: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row for each key, in the order of the keys: whoever writes several shared rows takes them in that order."""
    sums: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        ident = tuple(str(row[name]) for name in key)
        if ident in sums:
            _add(sums[ident], {name: value for name, value in row.items() if name not in key})
        else:
            sums[ident] = dict(row)
    return [sums[ident] for ident in sorted(sums)]


def compare(
    table: str, stored: Mapping[Any, Mapping[str, Any]], projected: Mapping[Any, Mapping[str, Any]]
) -> list[Difference]:
    """Every column that differs; a missing row counts as zeros, so an empty month that was only opened is fine."""
    return [
        Difference(table, key, column, have, want)
        for key in sorted({*stored, *projected}, key=repr)
        for column in (projected.get(key) or stored[key])
        if (have := stored.get(key, {}).get(column, 0)) != (want := projected.get(key, {}).get(column, 0))
    ]


def _add(sums: dict[str, Any], amounts: Mapping[str, Any]) -> None:
    for column, amount in amounts.items():
        so_far = sums.get(column, 0)
        sums[column] = so_far | amount if column in BITS else so_far + amount
