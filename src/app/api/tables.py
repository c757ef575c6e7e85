"""Rows as files: CSV that no spreadsheet takes for formulas, and NDJSON; both streamed."""

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from starlette.responses import StreamingResponse

Format = Literal["json", "csv", "ndjson"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_file(rows: Sequence[Mapping[str, Any]], kind: Literal["csv", "ndjson"], name: str) -> StreamingResponse:
    """The rows under the names of their columns; money is written to its last digit."""
    content, media = (
        (_csv(rows), "text/csv; charset=utf-8") if kind == "csv" else (_ndjson(rows), "application/x-ndjson")
    )
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{kind}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(content, media_type=media, headers=headers)


async def _csv(rows: Sequence[Mapping[str, Any]]) -> AsyncIterator[str]:
    if not rows:
        return
    names = list(rows[0])
    yield _line(names)
    for row in rows:
        yield _line([_cell(row[name]) for name in names])


async def _ndjson(rows: Sequence[Mapping[str, Any]]) -> AsyncIterator[str]:
    for row in rows:
        yield json.dumps(row, default=_plain, ensure_ascii=False, separators=(",", ":")) + "\n"


def _line(cells: Sequence[Any]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(cells)
    return written.getvalue()


def _cell(value: Any) -> Any:
    """What a cell shows. Text that begins like a formula gets an apostrophe, which spreadsheets hide."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else str(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {count}" for name, count in value.items())
    return f"{value:f}" if isinstance(value, Decimal) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date | UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON")
