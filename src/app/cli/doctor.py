"""`wisqu doctor`: what is wrong with this installation, and what to do about it."""

import asyncio

import typer

from app.services.doctor_service import Finding, doctor_service

_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


def doctor() -> None:
    """Check settings, database, files, OpenRouter, key, credits and models; exit code 1 when there are problems."""
    if "problem" in asyncio.run(_examined()):
        raise typer.Exit(1)


async def _examined() -> set[str]:
    levels: set[str] = set()
    try:
        async for finding in doctor_service.examine():
            typer.echo(_line(finding))
            levels.add(finding.level)
    finally:
        await doctor_service.aclose()
    return levels


def _line(finding: Finding) -> str:
    level = typer.style(f"{finding.level:<8}", fg=_COLOURS[finding.level])
    advice = f" {finding.advice}" if finding.advice else ""
    return f"{level}{finding.subject}: {finding.text}.{advice}"
