"""Sums for charts: what one ledger line and one ended answer add to the calendar month, the half hour and the day."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import Any
from uuid import UUID

from app.domain.ledger import USAGE, Row

SLOT_SECONDS = 1800
"""The house's sums are kept by half hours: in nearly all time zones a day begins on one."""

SHARDS = 16
"""How many rows stand for one sum while it is written to: accounts that close at the same moment rarely meet."""

FOLDED = SHARDS
"""The shard of sums that are written to no more: what the others held, in one row."""

SYSTEM_KEY = ("slot", "shard", "plan", "model", "kind")
TALLY_KEY = ("day", "shard", "plan", "model", "measure", "value")
ANSWERS = (
    "conversations",
    "answers",
    "failed",
    "stopped",
    "truncated",
    "fallbacks",
    "schema_answers",
    "schema_failures",
)

CHAT = "chat"
FIRST_TOKEN, LATENCY, CACHE, ERROR = "first_token", "latency", "cache", "error"

_BUCKETS_PER_DOUBLING = 4
SPEED_BOUNDS = tuple(ceil(2 ** (number / _BUCKETS_PER_DOUBLING)) for number in range(1, 81))
"""The first millisecond of each bucket of a histogram but the first: each lasts a fifth longer than the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFacts:
    """How one answer ended, by numbers and names only; ``model`` is who answered, else who was asked."""

    user_id: UUID
    id: UUID
    ended_at: datetime
    plan: str
    model: str
    status: str
    error_code: str | None
    begins_conversation: bool
    is_truncated: bool
    fallback_used: bool
    schema_passed: bool | None
    """``None``: no schema was asked for."""
    cache_outcome: str | None
    preset_id: UUID | None
    first_token_ms: int | None
    latency_ms: int | None


def slot_of(instant: datetime) -> int:
    """The half hour an instant lies in, counted from 1970."""
    return int(instant.timestamp()) // SLOT_SECONDS


def shard_of(user_id: UUID) -> int:
    """Where an account's share of the house's sums is written."""
    return user_id.int % SHARDS


def speed_bucket(milliseconds: int) -> int:
    """The bucket a time falls into; the last one begins at 17 minutes."""
    return bisect_right(SPEED_BOUNDS, milliseconds)


def percentile_ms(buckets: Mapping[int, int], part: float) -> int | None:
    """The time by which a ``part`` of the answers were there, in ms; off by at most a tenth. ``None`` without any."""
    total = sum(buckets.values())
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if buckets[bucket] and seen >= part * total:
            return round(2 ** ((bucket + 0.5) / _BUCKETS_PER_DOUBLING))
    return None


def system_row(daily: Row, instant: datetime) -> dict[str, Any]:
    """What a row of ``usage_daily``, written at ``instant``, adds to the house's half hour."""
    return {
        "slot": slot_of(instant),
        "shard": shard_of(daily["user_id"]),
        **{name: daily[name] for name in ("plan", "model", "kind", *USAGE)},
        **dict.fromkeys(ANSWERS, 0),
    }


def answer_row(facts: AnswerFacts) -> dict[str, Any]:
    """What an ended answer adds to the half hour: on the row that has its usage, if there was any."""
    return {
        "slot": slot_of(facts.ended_at),
        "shard": shard_of(facts.user_id),
        "plan": facts.plan,
        "model": facts.model,
        "kind": CHAT,
        **dict.fromkeys(USAGE, 0),
        "conversations": int(facts.begins_conversation),
        "answers": int(facts.status == "completed"),
        "failed": int(facts.status in ("failed", "interrupted")),
        "stopped": int(facts.status == "stopped"),
        "truncated": int(facts.is_truncated),
        "fallbacks": int(facts.fallback_used),
        "schema_answers": int(facts.schema_passed is not None),
        "schema_failures": int(facts.schema_passed is False),
    }


def tally_rows(facts: AnswerFacts) -> list[dict[str, Any]]:
    """What an ended answer adds to the day's tallies: speeds, and reasons by name."""
    told: dict[str, int | str | None] = {
        CACHE: facts.cache_outcome,
        ERROR: facts.error_code,
        FIRST_TOKEN: None if facts.first_token_ms is None else speed_bucket(facts.first_token_ms),
        LATENCY: None if facts.latency_ms is None else speed_bucket(facts.latency_ms),
    }
    return [
        {
            "day": facts.ended_at.astimezone(UTC).date(),
            "shard": shard_of(facts.user_id),
            "plan": facts.plan,
            "model": facts.model,
            "measure": measure,
            "value": str(value),
            "answers": 1,
        }
        for measure, value in told.items()
        if value is not None
    ]


def day_bits(month: date, first: date, last: date) -> int:
    """The days from ``first`` to ``last``, both included, that lie in a month, as bits."""
    days = ((month + timedelta(days=number), number) for number in range(31))
    return sum(1 << number for day, number in days if day.month == month.month and first <= day <= last)
