"""The command line: `wisqu --help`."""

import asyncio
import math
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from sqlalchemy.exc import DBAPIError

from app.core.config import ConfigurationError, get_settings
from app.core.errors import AppError
from app.db import migrate as migrations
from app.demo import DemoRefused, run_demo
from app.domain.principal import Role
from app.services.auth_service import auth_service
from app.services.subscription_service import subscription_service

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Run and look after WisQu."
)
users = typer.Typer(no_args_is_help=True, help="Accounts.")
app.add_typer(users, name="users")

Email = Annotated[str, typer.Argument(help="The account's e-mail address.")]
Password = Annotated[
    str,
    typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="At least 8 characters."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Where to listen, on 127.0.0.1; 0 takes a free port.")]


@app.command()
def demo(
    port: Port = 8000, data_dir: Annotated[Path, typer.Option(help="Where the demo keeps its data.")] = Path("data")
) -> None:
    """Run everything with one command; without OPENROUTER_API_KEY an emulator answers in OpenRouter's place."""
    run_demo(port=port, data_dir=data_dir)


@app.command()
def serve(port: Port = 8000, host: Annotated[str, typer.Option(help="Which address to bind.")] = "127.0.0.1") -> None:
    """Serve the app with the settings of the environment."""
    settings = get_settings()
    uvicorn.run(
        "app.main:app",
        host=host,
        port=port,
        log_config=None,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds),
    )


@app.command()
def migrate() -> None:
    """Bring the database up to date."""
    migrations.upgrade(get_settings().resolved_database_url)
    typer.echo("The database is up to date.")


@app.command()
def seed() -> None:
    """Write the plans; only what changed is written."""
    written = asyncio.run(_seeded())
    typer.echo(f"Plans written: {', '.join(written)}." if written else "All plans are up to date.")


@users.command("create-admin")
def create_admin(email: Email, password: Password) -> None:
    """Create an account that may operate the product."""
    _require_length(password)
    asyncio.run(_created_admin(email, password))
    typer.echo(f"{email} may now log in as an administrator.")


@users.command("set-password")
def set_password(email: Email, password: Password) -> None:
    """Give an account a new password; all its sessions end."""
    _require_length(password)
    asyncio.run(_password_set(email, password))
    typer.echo(f"The password of {email} is changed; all its sessions have ended.")


async def _seeded() -> list[str]:
    try:
        return [plan.value for plan in await subscription_service.seed_plans()]
    finally:
        await subscription_service.aclose()


async def _created_admin(email: str, password: str) -> None:
    try:
        await auth_service.register(email=email, password=password, role=Role.ADMIN)
    finally:
        await auth_service.aclose()


async def _password_set(email: str, password: str) -> None:
    try:
        await auth_service.set_password(email=email, password=password)
    finally:
        await auth_service.aclose()


def _require_length(password: str) -> None:
    if len(password) < 8:
        raise typer.BadParameter("needs at least 8 characters", param_hint="--password")


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
