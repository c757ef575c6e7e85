"""What an app says to its database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from tests.support.served import ServedApp


@contextmanager
def counted_statements(app: ServedApp) -> Iterator[list[str]]:
    """The statements that are run inside the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    database = app.services.database
    engines = [database.engine.sync_engine]
    if engines[0].dialect.name == "sqlite":
        engines.append(database._in_threads().sync_engine)
    for each in engines:
        event.listen(each, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        for each in engines:
            event.remove(each, "before_cursor_execute", note)
