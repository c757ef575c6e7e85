"""`wisqu demo`, `serve`, `migrate` and `seed`: run the product and prepare its database."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from app.core.config import get_settings
from app.db import migrate as migrations
from app.demo import run_demo
from app.services.subscription_service import subscription_service
from app.serving import make_server

Port = Annotated[int, typer.Option(min=0, max=65535, help="Where to listen, on 127.0.0.1; 0 takes a free port.")]


def demo(
    port: Port = 8000, data_dir: Annotated[Path, typer.Option(help="Where the demo keeps its data.")] = Path("data")
) -> None:
    """Run everything with one command; without OPENROUTER_API_KEY an emulator answers in OpenRouter's place."""
    run_demo(port=port, data_dir=data_dir)


def serve(port: Port = 8000, host: Annotated[str, typer.Option(help="Which address to bind.")] = "127.0.0.1") -> None:
    """Serve the app with the settings of the environment."""
    get_settings()  # wrong settings are told before anything starts
    make_server(host=host, port=port).run()


def migrate() -> None:
    """Bring the database up to date."""
    migrations.upgrade(get_settings().resolved_database_url)
    typer.echo("The database is up to date.")


def seed() -> None:
    """Write the plans; only what changed is written."""
    written = asyncio.run(_seeded())
    typer.echo(f"Plans written: {', '.join(written)}." if written else "All plans are up to date.")


async def _seeded() -> list[str]:
    try:
        return [plan.value for plan in await subscription_service.seed_plans()]
    finally:
        await subscription_service.aclose()
