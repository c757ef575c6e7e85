"""Whether a database has every migration, asked without changing it."""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.database import READ_ONLY
from app.db.migrate import HERE


async def is_up_to_date(engine: AsyncEngine) -> bool:
    """Whether nothing is left for ``wisqu migrate``; raises what the driver raises when the database is away."""
    async with engine.connect() as connection:
        await connection.execution_options(**{READ_ONLY: True})
        applied = await connection.run_sync(lambda plain: MigrationContext.configure(plain).get_current_heads())
    return set(applied) == set(ScriptDirectory(str(HERE / "migrations")).get_heads())
