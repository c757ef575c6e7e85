"""Alembic's entry: runs the migrations on the configured database, or on the URL given as ``sqlalchemy.url``."""

import asyncio
import sys
from typing import Any, Literal

from alembic import context
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

import app.db.models  # noqa: F401  (registers every table)
from app.core.config import ConfigurationError, get_settings
from app.db.base import Base, Money, UTCDateTime
from app.db.database import make_engine


def _url() -> str:
    try:
        return context.config.get_main_option("sqlalchemy.url") or get_settings().resolved_database_url
    except ConfigurationError as error:
        sys.exit(str(error))


def _options() -> dict[str, Any]:
    return {
        "target_metadata": Base.metadata,
        "render_as_batch": True,  # SQLite cannot ALTER a column in place
        "compare_type": True,
        "render_item": _render_own_types,
    }


def _render_own_types(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    return f"{type(item).__name__}()" if kind == "type" and isinstance(item, UTCDateTime | Money) else False


def _run_offline() -> None:
    context.configure(url=_url(), literal_binds=True, dialect_opts={"paramstyle": "named"}, **_options())
    with context.begin_transaction():
        context.run_migrations()


def _run(connection: Connection) -> None:
    context.configure(connection=connection, **_options())
    with context.begin_transaction():
        context.run_migrations()


def _let_tables_be_made_anew(engine: AsyncEngine) -> None:
    # SQLite changes a table by copying and dropping it; with foreign keys on, that deletes what refers to it.
    @event.listens_for(engine.sync_engine, "connect")
    def without_foreign_keys(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=OFF").close()


async def _run_online() -> None:
    engine = make_engine(_url())
    if engine.dialect.name == "sqlite":
        _let_tables_be_made_anew(engine)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    _run_offline()
else:
    asyncio.run(_run_online())
