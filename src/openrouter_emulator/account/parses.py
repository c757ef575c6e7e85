"""Which documents came, which of them were parsed, and for what fee."""

from collections import deque
from decimal import Decimal
from typing import Any

from openrouter_emulator.answers.files import Parsing


class ParseLog:
    """The newest documents of all requests, one row for each time one came."""

    def __init__(self, *, size: int) -> None:
        self._rows: deque[dict[str, Any]] = deque(maxlen=size)

    def add(self, generation_id: str, parsing: Parsing) -> None:
        self._rows.extend({"generation_id": generation_id, **row} for row in parsing.rows())

    def view(self, digest: str | None = None) -> dict[str, Any]:
        """All rows, or those of one document; how many were really parsed, and what that cost in USD."""
        rows = [row for row in self._rows if digest in (None, row["hash"])]
        fee = sum((Decimal(row["fee"]) for row in rows), Decimal(0))
        return {"files": rows, "parsed": sum(row["parsed"] for row in rows), "fee": format(fee, "f")}

    def clear(self) -> None:
        self._rows.clear()
