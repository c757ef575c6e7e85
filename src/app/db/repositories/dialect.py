"""INSERT ... ON CONFLICT, which both databases speak and SQLAlchemy spells twice."""

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession


def insert_or(session: AsyncSession, table: type[Any]) -> Any:
    """An INSERT of this session's dialect that knows ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
    module = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return module.insert(table)
