"""`wisqu users`: accounts, as their operator handles them."""

import asyncio
from typing import Annotated

import typer

from app.domain.principal import Role
from app.services.auth_service import auth_service

app = typer.Typer(no_args_is_help=True, help="Accounts.")

Email = Annotated[str, typer.Argument(help="The account's e-mail address.")]
Password = Annotated[
    str,
    typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="At least 8 characters."),
]


@app.command("create-admin")
def create_admin(email: Email, password: Password) -> None:
    """Create an account that may operate the product."""
    _require_length(password)
    asyncio.run(_created_admin(email, password))
    typer.echo(f"{email} may now log in as an administrator.")


@app.command("set-password")
def set_password(email: Email, password: Password) -> None:
    """Give an account a new password; all its sessions end."""
    _require_length(password)
    asyncio.run(_password_set(email, password))
    typer.echo(f"The password of {email} is changed; all its sessions have ended.")


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
