"""`wisqu ledger` and `wisqu leases`: the books, as their operator checks them."""

import asyncio
from collections.abc import Sequence

import typer

from app.services.ledger_service import HeldLease, Rebuilt, Verification, ledger_service

app = typer.Typer(no_args_is_help=True, help="The ledger and what follows from it.")
leases = typer.Typer(no_args_is_help=True, help="What running answers hold of their plans.")


@app.command()
def verify() -> None:
    """Recompute all sums from the ledger's lines and the answers' facts; exit with 1 if a stored one differs."""
    result = asyncio.run(_verified())
    for difference in result.differences:
        typer.echo(str(difference))
    typer.echo(
        f"{result.lines} lines of {result.accounts} accounts: {len(result.differences)} differences, "
        f"{result.bills_to_come} bills still to come."
    )
    if result.differences:
        raise typer.Exit(1)


@app.command()
def rebuild() -> None:
    """Write all sums anew from the ledger's lines and the answers' facts."""
    rebuilt = asyncio.run(_rebuilt())
    typer.echo(f"Accounts put right: {rebuilt.accounts}.")
    if rebuilt.is_house:
        typer.echo("The sums over all accounts were written anew.")


@leases.command("list")
def list_leases() -> None:
    """One line for each held lease."""
    held = asyncio.run(_listed())
    for each in held:
        lease = each.lease
        state = "expired, not swept yet" if each.is_expired else f"until {lease.expires_at.isoformat()}"
        typer.echo(
            f"{lease.id}  user {lease.user_id}  {lease.messages} message  {lease.tokens} tokens  "
            f"{lease.cost_usd:.6f} USD  {state}"
        )
    typer.echo(f"Held leases: {len(held)}.")


async def _verified() -> Verification:
    try:
        return await ledger_service.verify()
    finally:
        await ledger_service.aclose()


async def _rebuilt() -> Rebuilt:
    try:
        return await ledger_service.rebuild()
    finally:
        await ledger_service.aclose()


async def _listed() -> Sequence[HeldLease]:
    try:
        return await ledger_service.list_leases()
    finally:
        await ledger_service.aclose()
