"""The command line: `wisqu --help`."""

import sys

import typer
from sqlalchemy.exc import DBAPIError

from app.cli import cache, doctor, ledger, models, server, subscriptions, users
from app.core.config import ConfigurationError
from app.core.errors import AppError
from app.demo import DemoRefused

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Run and look after WisQu."
)
for _command in (server.demo, server.serve, server.migrate, server.seed, doctor.doctor):
    app.command()(_command)
users.app.command("list")(subscriptions.list_users)
users.app.command("show")(subscriptions.show_user)
users.app.command("set-plan")(subscriptions.set_plan)
users.app.command("override")(subscriptions.override)
app.add_typer(users.app, name="users")
app.add_typer(subscriptions.plans, name="plans")
app.add_typer(models.app, name="models")
app.add_typer(cache.app, name="cache")
app.add_typer(ledger.app, name="ledger")
app.add_typer(ledger.leases, name="leases")


def main() -> None:
    """Entry of `wisqu`: mistakes of the operator are one sentence, not a stack trace."""
    try:
        app()
    except (AppError, ConfigurationError, DemoRefused) as error:
        sys.exit(str(error))
    except DBAPIError as error:
        sys.exit(f"The database refused: {error.orig}. Is it up to date? `wisqu migrate` brings it there.")
    except OSError as error:
        sys.exit(f"The system refused: {error}")
