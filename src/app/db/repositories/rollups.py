"""The house's sums: made anew from the ledger and the answers' facts, compared with them, and folded."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Date,
    Integer,
    Select,
    String,
    and_,
    case,
    cast,
    delete,
    extract,
    func,
    insert,
    literal,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base
from app.db.models import AnswerFact, AnswerTally, SystemUsage, UsageEvent
from app.db.repositories.dialect import insert_or
from app.domain.ledger import NO_REQUESTS, USAGE
from app.domain.rollups import (
    ANSWERS,
    CACHE,
    CHAT,
    ERROR,
    FIRST_TOKEN,
    FOLDED,
    LATENCY,
    SLOT_SECONDS,
    SPEED_BOUNDS,
    SYSTEM_KEY,
    TALLY_KEY,
    slot_of,
)

Sums = Mapping[tuple[Any, ...], Mapping[str, Any]]

_SYSTEM_SUMS = (*USAGE, *ANSWERS)
_TALLY_SUMS = ("answers",)


class Rollups:
    """Reads ``usage_events`` and ``answer_facts``; reads and rewrites ``system_usage`` and ``answer_tallies``."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._is_sqlite = session.get_bind().dialect.name == "sqlite"

    async def compare_system(self) -> tuple[Sums, Sums]:
        """The half hours as stored, all shards together, and as ledger and facts say."""
        stored = select(*_columns(SystemUsage, SYSTEM_KEY, _SYSTEM_SUMS))
        return await self._read(stored, SYSTEM_KEY, _SYSTEM_SUMS), await self._read(
            self._system(), SYSTEM_KEY, _SYSTEM_SUMS
        )

    async def compare_tallies(self) -> tuple[Sums, Sums]:
        """The days' tallies as stored, all shards together, and as the facts say."""
        stored = select(*_columns(AnswerTally, TALLY_KEY, _TALLY_SUMS))
        return await self._read(stored, TALLY_KEY, _TALLY_SUMS), await self._read(
            self._tallies(), TALLY_KEY, _TALLY_SUMS
        )

    async def rebuild(self) -> None:
        """Write all of the house's sums anew. Whoever closes a turn meanwhile waits for the end of this transaction."""
        if not self._is_sqlite:  # where a writer has the database for itself
            # Closings that have added to the sums end first, with their lines; the others add theirs afterwards.
            await self._session.execute(text("LOCK TABLE system_usage, answer_tallies IN SHARE ROW EXCLUSIVE MODE"))
        sources: tuple[tuple[type[Base], Any, tuple[str, ...], tuple[str, ...]], ...] = (
            (SystemUsage, self._system(), SYSTEM_KEY, _SYSTEM_SUMS),
            (AnswerTally, self._tallies(), TALLY_KEY, _TALLY_SUMS),
        )
        for table, source, key, sums in sources:
            await self._session.execute(delete(table))
            names = [*_unsharded(key), "shard", *sums]
            await self._session.execute(insert(table).from_select(names, _folded(source, key, sums)))

    async def fold(self, *, before: datetime) -> None:
        """Make one row of the shards of half hours that ended before, which nobody writes to any more."""
        await self._fold(SystemUsage, SYSTEM_KEY, _SYSTEM_SUMS, SystemUsage.slot < slot_of(before))
        await self._fold(AnswerTally, TALLY_KEY, _TALLY_SUMS, AnswerTally.day < before.date())

    async def _fold(self, table: type[Any], key: tuple[str, ...], sums: tuple[str, ...], is_over: Any) -> None:
        condition = and_(table.shard < FOLDED, is_over)
        columns = _columns(table, key, sums)
        if self._is_sqlite:
            source: Any = select(*columns).where(condition)
        else:  # in one statement: what is moved is what was there
            gone = delete(table).where(condition).returning(*columns).cte("gone")
            source = select(gone)
        names = [*_unsharded(key), "shard", *sums]
        moved = insert_or(self._session, table).from_select(names, _folded(source, key, sums))
        added = {name: table.__table__.c[name] + moved.excluded[name] for name in sums}
        await self._session.execute(moved.on_conflict_do_update(index_elements=list(key), set_=added))
        if self._is_sqlite:
            await self._session.execute(delete(table).where(condition).execution_options(synchronize_session=False))

    async def _read(self, source: Any, key: tuple[str, ...], sums: tuple[str, ...]) -> Sums:
        names = _unsharded(key)
        rows = (await self._session.execute(_grouped(source, key, sums))).all()
        return {tuple(row[: len(names)]): dict(zip(sums, row[len(names) :], strict=True)) for row in rows}

    def _system(self) -> CompoundSelect[Any]:
        zero = literal(0)
        amounts = {name: getattr(UsageEvent, name) for name in USAGE if name != "requests"}
        amounts |= {name: func.coalesce(amounts[name], 0) for name in ("cost_usd", "cache_discount_usd")}
        lines = select(
            self._slot(UsageEvent.created_at).label("slot"),
            UsageEvent.plan,
            UsageEvent.model,
            UsageEvent.kind,
            case((UsageEvent.kind.in_(NO_REQUESTS), 0), else_=1).label("requests"),
            *(column.label(name) for name, column in amounts.items()),
            *(zero.label(name) for name in ANSWERS),
        )
        return union_all(lines, self._ended())

    def _ended(self) -> Select[Any]:
        fact = AnswerFact
        counted = {
            "conversations": fact.begins_conversation,
            "answers": fact.status == "completed",
            "failed": fact.status.in_(("failed", "interrupted")),
            "stopped": fact.status == "stopped",
            "truncated": fact.is_truncated,
            "fallbacks": fact.fallback_used,
            "schema_answers": fact.schema_passed.is_not(None),
            "schema_failures": fact.schema_passed.is_(False),
        }
        return select(
            self._slot(fact.ended_at).label("slot"),
            fact.plan,
            fact.model,
            literal(CHAT, String).label("kind"),
            *(literal(0).label(name) for name in USAGE),
            *(case((counted[name], 1), else_=0).label(name) for name in ANSWERS),
        )

    def _tallies(self) -> CompoundSelect[Any]:
        fact = AnswerFact
        values: dict[str, tuple[Any, Any]] = {
            CACHE: (fact.cache_outcome, fact.cache_outcome),
            ERROR: (fact.error_code, fact.error_code),
            FIRST_TOKEN: (fact.first_token_ms, _bucket(fact.first_token_ms)),
            LATENCY: (fact.latency_ms, _bucket(fact.latency_ms)),
        }
        return union_all(
            *(
                select(
                    self._day(fact.ended_at).label("day"),
                    fact.plan,
                    fact.model,
                    literal(measure, String).label("measure"),
                    value.label("value"),
                    literal(1).label("answers"),
                ).where(known.is_not(None))
                for measure, (known, value) in values.items()
            )
        )

    def _slot(self, instant: Any) -> Any:
        if self._is_sqlite:
            return cast(func.strftime("%s", instant), Integer) // literal(SLOT_SECONDS, Integer)
        return cast(func.floor(extract("epoch", instant) / SLOT_SECONDS), Integer)

    def _day(self, instant: Any) -> Any:
        if self._is_sqlite:
            return func.date(instant, type_=Date)
        return cast(func.timezone("UTC", instant), Date)


def _bucket(milliseconds: Any) -> Any:
    bounds = ((milliseconds < bound, str(number)) for number, bound in enumerate(SPEED_BOUNDS))
    return case(*bounds, else_=str(len(SPEED_BOUNDS)))


def _unsharded(key: tuple[str, ...]) -> list[str]:
    return [name for name in key if name != "shard"]


def _columns(table: type[Any], key: tuple[str, ...], sums: tuple[str, ...]) -> list[Any]:
    return [table.__table__.c[name] for name in (*_unsharded(key), *sums)]


def _grouped(source: Any, key: tuple[str, ...], sums: tuple[str, ...], *extra: Any) -> Select[Any]:
    found = source.subquery().c
    by = [found[name] for name in _unsharded(key)]
    return select(*by, *extra, *(func.sum(found[name]) for name in sums)).group_by(*by)


def _folded(source: Any, key: tuple[str, ...], sums: Sequence[str]) -> Select[Any]:
    return _grouped(source, key, tuple(sums), literal(FOLDED))
