"""How a database runs a statement."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from app.db.database import Database


@dataclass
class Plan:
    """The plan of one statement: PostgreSQL's as it ran, SQLite's as it would run."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def indexes_of(self, table: str) -> set[str]:
        """The indexes by which a table is read; ``scan`` where it is read without."""
        found = {each.get("Index Name", "scan") for each in self.nodes if each.get("Relation Name") == table}
        for line in self.lines:
            if re.match(rf"SEARCH {table}", line):
                found.update(re.findall(r"USING (?:COVERING )?INDEX (\S+)", line))
            elif re.match(rf"SCAN {table}", line):
                found.add("scan")
        return found

    def rows_read(self, table: str) -> float | None:
        """How many rows of a table were looked at; ``None`` where the database does not say."""
        if not self.nodes:
            return None
        own = [each for each in self.nodes if each.get("Relation Name") == table]
        return sum((each["Actual Rows"] + each.get("Rows Removed by Filter", 0)) * each["Actual Loops"] for each in own)


@asynccontextmanager
async def explained(database: Database, word: str) -> AsyncIterator[Plan]:
    """Fills in the plan of the one statement with this word that is run inside the block."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        if word in statement:
            seen.append((statement, parameters))

    engine, plan = database.engine.sync_engine, Plan()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield plan
    finally:
        event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = seen
    prefix = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN (ANALYZE, FORMAT JSON) "
    async with database.read_only() as uow:
        rows = (await uow._connection.exec_driver_sql(prefix + statement, parameters)).all()
    if engine.dialect.name == "sqlite":
        plan.lines.extend(str(row[-1]) for row in rows)
    else:
        told = rows[0][0]
        plan.nodes.extend(_flat((json.loads(told) if isinstance(told, str) else told)[0]["Plan"]))


def _flat(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for each in node.get("Plans", []) for inner in _flat(each))]
