"""Runs the migrations from Python, for the command line, the demo and the tests."""

from pathlib import Path

from alembic import command
from alembic.config import Config

HERE = Path(__file__).parent


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` up to ``revision``. Blocking; opens its own event loop."""
    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the database at ``url`` back to ``revision``; at ``base`` no table is left."""
    command.downgrade(_config(url), revision)


def check(url: str) -> None:
    """Raise if the tables at ``url`` differ from the models."""
    command.check(_config(url))
