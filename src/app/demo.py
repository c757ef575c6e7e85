"""One command that runs the product: database, plans, and an emulator where no OpenRouter key is set."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

from app.core.config import Settings, get_settings, load_settings
from app.db import migrate
from app.domain.plans import PlanTier
from app.domain.principal import Role
from app.services.auth_service import EmailTaken, auth_service
from app.services.subscription_service import subscription_service
from app.serving import make_server

HOST = "127.0.0.1"
DEMO_ACCOUNTS = (
    ("demo@wisqu.local", PlanTier.PREMIUM, Role.USER, "Premium"),
    ("admin@wisqu.local", PlanTier.FREE, Role.ADMIN, "administrator"),
)
_LISTENING = "openrouter emulator listening on "


class DemoRefused(Exception):
    """The demo cannot start; the message says why, and what to do."""


def run_demo(*, port: int, data_dir: Path) -> None:
    """Migrate, seed, serve until Ctrl-C. What is set in the environment or ``.env`` holds; the rest is made up."""
    os.environ["DATA_DIR"] = str(data_dir)
    settings = load_settings()
    # The port comes first: where it is taken, nothing has been created and no password shown.
    with _listen(port) as listener, _openrouter(settings) as is_emulated:
        get_settings.cache_clear()
        with _finished_first():
            migrate.upgrade(get_settings().resolved_database_url)
            asyncio.run(_prepare(with_accounts=is_emulated))
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        typer.echo(f"WisQu starts on {url}  (API docs: {url}/docs). Ctrl-C stops it.")
        _serve(listener)


@contextmanager
def _finished_first() -> Iterator[None]:
    """Hold Ctrl-C back until the block is through: it takes a second, and a migration is not left half-way."""
    was_pressed = False

    def remember(_signal: int, _frame: FrameType | None) -> None:
        nonlocal was_pressed
        was_pressed = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if was_pressed:
        raise KeyboardInterrupt


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise DemoRefused(f"Port {port} cannot be used ({reason}). Choose another: make run PORT=8001") from None


def _serve(listener: socket.socket) -> None:
    with suppress(KeyboardInterrupt):  # the server has stopped in order by then
        make_server().run(sockets=[listener])


@contextmanager
def _openrouter(settings: Settings) -> Iterator[bool]:
    """OpenRouter itself when there is a key; else an emulator that lives as long as the block. Whether it is one."""
    if settings.openrouter_api_key is not None:
        typer.echo(f"Answers come from {settings.openrouter_base_url} and are billed to your key.")
        yield False
        return
    # In a session of its own: Ctrl-C reaches us first, and running answers may still finish.
    command = [sys.executable, "-m", "openrouter_emulator", "--port", "0", "--exit-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as emulator:  # noqa: S603
        try:
            os.environ["OPENROUTER_BASE_URL"] = base_url = _wait_until_it_listens(emulator)
            os.environ["OPENROUTER_API_KEY"] = f"emulator-{secrets.token_hex(8)}"
            typer.echo(f"No OPENROUTER_API_KEY is set: an emulator on {base_url} answers in OpenRouter's place.")
            typer.echo("Its answers are simulated, its prices are real, nothing is billed.")
            yield True
        finally:
            emulator.terminate()


def _wait_until_it_listens(emulator: subprocess.Popen[str]) -> str:
    assert emulator.stdout is not None  # noqa: S101  (opened with a pipe)
    for line in emulator.stdout:
        if line.startswith(_LISTENING):
            return line.removeprefix(_LISTENING).strip()
    raise DemoRefused("The emulator ended before it listened; what it said stands above.")


async def _prepare(*, with_accounts: bool) -> None:
    try:
        await subscription_service.seed_plans()
        if with_accounts:
            await _create_accounts()
    finally:
        await subscription_service.aclose()


async def _create_accounts() -> None:
    for email, plan, role, what in DEMO_ACCOUNTS:
        password = secrets.token_urlsafe(9)
        try:
            await auth_service.register(email=email, password=password, role=role, plan=plan)
        except EmailTaken:
            typer.echo(f"  {email:<18} {what:<14} its password was shown when it was created")
        else:
            typer.echo(f"  {email:<18} {what:<14} password (shown this once): {password}")
