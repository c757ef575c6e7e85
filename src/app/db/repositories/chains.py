"""Writes in a chain: each happens only if the one it stands behind found its row.

PostgreSQL gets them as one statement, which is a transaction by itself; SQLite, which has no such statements and
answers at once, gets them one by one. What is sent is built once for each shape of chain.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, bindparam, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.base import Base
from app.domain.ledger import BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """A row. ``adds_up``: where there is one with its ``key``, the other columns are added to that one's.

    ``seen`` names a column: where there is a row with this ``key``, it is found only if it is unchanged since that
    column was read, and then locked. SQLite's writers have the database for themselves: there it is always unchanged.
    """

    name: str
    model: type[Base]
    columns: tuple[str, ...]
    behind: str | None = None
    key: tuple[str, ...] = ()
    adds_up: bool = False
    seen: ColumnElement[Any] | None = None

    def build(self, behind: CTE | None, dialect: Any) -> Any:
        """The statement, told apart from others by the name in its parameters."""
        table: Any = self.model.__table__
        values = {each: _parameter(self.name, table.c[each]) for each in self.columns}
        statement = dialect.insert(table) if self.key else insert(table)
        if behind is None:
            statement = statement.values(values)
        else:
            row = select(*(value.label(name) for name, value in values.items())).select_from(behind)
            statement = statement.from_select(list(self.columns), row)
        return self._meeting_another(statement, dialect).returning(_told(table))

    def _meeting_another(self, statement: Any, dialect: Any) -> Any:
        if not self.key:
            return statement
        columns, new = self.model.__table__.c, statement.excluded
        others = [name for name in self.columns if name not in self.key]
        if self.adds_up:
            return statement.on_conflict_do_update(
                index_elements=self.key, set_={name: _joined(name, columns[name], new[name]) for name in others}
            )
        unchanged = None
        if self.seen is not None and dialect is postgresql:
            unchanged = self.seen == bindparam(f"{self.name}_seen", type_=self.seen.type)
        return statement.on_conflict_do_update(
            index_elements=self.key,
            set_={others[0]: new[others[0]]},  # says the same again, and so locks it
            where=unchanged,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A change of the row with this ``key``; ``adds`` are columns that grow by the value given."""

    name: str
    model: type[Base]
    columns: tuple[str, ...] = ()
    behind: str | None = None
    key: tuple[str, ...] = ("user_id", "id")
    adds: tuple[str, ...] = ()

    def build(self, behind: CTE | None, _dialect: Any) -> Any:
        """The statement, told apart from others by the name in its parameters."""
        table: Any = self.model.__table__
        columns = table.c
        changes: dict[str, Any] = {name: _parameter(self.name, columns[name]) for name in self.columns}
        changes |= {name: columns[name] + _parameter(self.name, columns[name]) for name in self.adds}
        statement = update(table).values(changes)
        for name in self.key:
            statement = statement.where(columns[name] == _parameter(f"{self.name}_if", columns[name]))
        if behind is not None:
            statement = statement.where(columns.user_id == behind.c.user_id)
        return statement.returning(columns.user_id)


Link = Insert | Update
Step = tuple[Link, Mapping[str, Any]]
"""A link and its values, by column; those of an update's key by ``if_`` and column."""


class Chain:
    """Sends chains over one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def send(self, steps: Sequence[Step]) -> Collection[str]:
        """Do what can be done; the names of the links that found, or made, their row."""
        values = {f"{link.name}_{column}": value for link, given in steps for column, value in given.items()}
        links = tuple(link for link, _ in steps)
        if self._connection.dialect.name == "sqlite":
            return await self._one_by_one(links, values)
        row = (await self._connection.execute(_at_once(links), values)).one()
        return [link.name for link, found in zip(links, row, strict=True) if found]

    async def _one_by_one(self, links: Sequence[Link], values: Mapping[str, Any]) -> Collection[str]:
        found: set[str] = set()
        for link in links:
            if link.behind is not None and link.behind not in found:
                continue
            if (await self._connection.execute(_alone(link), values)).first() is not None:
                found.add(link.name)
        return found


@lru_cache(maxsize=256)
def _at_once(links: tuple[Link, ...]) -> Select[Any]:
    parts: dict[str, CTE] = {}
    for link in links:
        parts[link.name] = link.build(parts[link.behind] if link.behind else None, postgresql).cte(link.name)
    counts = [select(func.count()).select_from(each).scalar_subquery().label(name) for name, each in parts.items()]
    return select(*counts)


@lru_cache(maxsize=256)
def _alone(link: Link) -> Any:
    return link.build(None, sqlite)


def _told(table: Any) -> Any:
    # What stands behind is found by its owner; the house's sums have none, and nothing stands behind them.
    return table.c.user_id if "user_id" in table.c else literal(1).label("found")


def _joined(name: str, old: Any, new: Any) -> Any:
    return old.bitwise_or(new) if name in BITS else old + new


def _parameter(prefix: str, column: Any) -> ColumnElement[Any]:
    return bindparam(f"{prefix}_{column.name}", type_=column.type)
