"""`wisqu cache`: what keeps prompts from being found in a provider's cache."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from app.db.models import ModelPreset
from app.domain.audit import Actor, ActorKind
from app.openrouter.prefix_lint import Finding, UnreadableRecording, lint_recording, lint_text
from app.services.presets_service import presets_service

app = typer.Typer(no_args_is_help=True, help="Prompt caching.")


@app.callback()
def _group() -> None:
    """Keeps `lint` a command of its own while it is the only one."""


@app.command()
def lint(
    source: Annotated[
        str, typer.Argument(help="A file with a system prompt or recorded requests (JSON); - reads the input.")
    ] = "-",
    preset: Annotated[UUID | None, typer.Option(help="The id of a preset, in place of a file.")] = None,
) -> None:
    """Name what will break a prompt's prefix, with its line and what to do. Exit code 1 where something does."""
    try:
        found = _lint_preset(preset) if preset else lint_recording(_read(source))
    except UnreadableRecording as error:
        sys.exit(f"{source} cannot be read: {error}")
    for each in found:
        typer.echo(_told(each))
    breaking = sum(each.breaks for each in found)
    typer.echo(f"Breaks the prefix: {breaking or 'nothing'}.")
    raise typer.Exit(1 if breaking else 0)


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).read_text("utf-8")
    except UnicodeDecodeError:
        raise UnreadableRecording("it is not text in UTF-8.") from None


def _lint_preset(preset_id: UUID) -> list[Finding]:
    preset = asyncio.run(_read_preset(preset_id))
    return lint_text(preset.system_prompt or "", place=f"preset {preset.slug}")


async def _read_preset(preset_id: UUID) -> ModelPreset:
    try:
        return await presets_service.read_any(Actor(ActorKind.CLI), preset_id)
    finally:
        await presets_service.aclose()


def _told(finding: Finding) -> str:
    place = f"{finding.place}:{finding.line}" if finding.line else finding.place
    grade = "" if finding.breaks else " (may)"
    quoted = f" {finding.text!r}." if finding.text else ""
    return f"{place}: {finding.rule}{grade}:{quoted} {finding.advice}"
