"""`wisqu users list|show|set-plan|override` and `wisqu plans list`: the operators' tools without HTTP, audited too."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from app.db.models import PlanLimitsRow
from app.domain.audit import Actor, ActorKind
from app.domain.lifecycle import DatedPlan
from app.domain.plans import PlanTier
from app.services.admin_service import Account, AccountDetail, admin_service
from app.services.subscription_service import subscription_service

T = TypeVar("T")
CLI = Actor(ActorKind.CLI)

plans = typer.Typer(no_args_is_help=True, help="The plans on sale.")

Email = Annotated[str, typer.Argument(help="The account's e-mail address.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]


def list_users(
    email: Annotated[str, typer.Option(help="Only addresses that hold this.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 50,
) -> None:
    """List accounts, newest first, with plan and what the current period used."""
    page = _run(lambda: admin_service.list_users(CLI, limit=limit, email=email))
    for account in page.items:
        typer.echo(_line(account))
    typer.echo(f"{len(page.items)} accounts{'; there are more' if page.next_cursor else ''}.")


def show_user(email: Email) -> None:
    """Show one account: plan, usage, limits in force and what was agreed."""
    for name, value in _facts(_run(lambda: _shown(email))):
        typer.echo(f"{name:<12}{value}")


def set_plan(
    email: Email,
    plan: PlanTier,
    reason: Reason,
    version: Annotated[int | None, typer.Option(min=1, help="Left out: the one requested, else the newest.")] = None,
) -> None:
    """Put an account on a plan at once; confirms a requested upgrade."""

    async def change() -> None:
        user_id = await admin_service.find_user(email)
        await subscription_service.set_plan(CLI, user_id, plan, version=version, reason=reason)

    _run(change)
    typer.echo(f"{email} is on the {plan.value.title()} plan.")


def override(
    email: Email,
    name: Annotated[str, typer.Argument(help="A limit or feature of the plan, e.g. messages_per_month.")],
    value: Annotated[
        str | None, typer.Argument(help="A number, true or false. Left out: the plan holds again.")
    ] = None,
    reason: Reason = "",
    expires_at: Annotated[
        datetime | None, typer.Option(help="Until when (UTC, not included). Left out: for good.")
    ] = None,
) -> None:
    """Agree on a limit in place of the plan's own, or take that back."""
    if value is not None and not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    _run(lambda: _overridden(email, name, value, reason=reason, expires_at=expires_at))
    typer.echo(f"{email}: {name} {'is as the plan says' if value is None else f'is {value}'}.")


@plans.command("list")
def list_plans() -> None:
    """List the plans on sale, cheapest first, with their newest version."""
    for plan in _run(subscription_service.list_plans):
        typer.echo(_plan_line(plan))


async def _shown(email: str) -> AccountDetail:
    return await admin_service.get_user(CLI, await admin_service.find_user(email))


async def _overridden(email: str, name: str, value: str | None, *, reason: str, expires_at: datetime | None) -> None:
    user_id = await admin_service.find_user(email)
    if value is None:
        await admin_service.remove_override(CLI, user_id, name)
        return
    until = expires_at.replace(tzinfo=UTC) if expires_at else None
    await admin_service.set_overrides(CLI, user_id, {name: value}, reason=reason, expires_at=until)


def _run(use_case: Callable[[], Coroutine[None, None, T]]) -> T:
    async def run() -> T:
        try:
            return await use_case()
        finally:
            await admin_service.aclose()  # both services stand on one database

    return asyncio.run(run())


def _line(account: Account) -> str:
    subscription = account.subscription
    if subscription is None:
        return f"{account.email:<40}  no subscription"
    used = subscription.used
    pending = _pending("then", subscription.scheduled) + _pending("wants", subscription.requested)
    return (
        f"{account.email:<40}  {subscription.plan.value:<10}  {used.messages:>7,} messages  {used.tokens:>11,} tokens  "
        f"{used.cost_usd:>10.4f} USD{pending}"
    )


def _facts(account: AccountDetail) -> Iterator[tuple[str, str]]:
    limits = account.limits
    yield "id", str(account.id)
    yield "e-mail", account.email
    yield "role", f"{account.role.value}{'' if account.is_active else ', switched off'}"
    if subscription := account.subscription:
        used, period = subscription.used, subscription.period
        pending = _pending("then", subscription.scheduled) + _pending("wants", subscription.requested)
        yield (
            "plan",
            f"{subscription.plan.value}, version {subscription.plan_version}, {subscription.status.value}{pending}",
        )
        yield "period", f"{period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} UTC"
        yield "messages", f"{used.messages:,} of {limits.messages_per_month:,}"
        yield "tokens", f"{used.tokens:,} of {limits.tokens_per_month:,}"
        yield "images", f"{used.images:,} of {limits.images_per_month:,}"
        yield "cost", f"{used.cost_usd:.4f} of {limits.cost_ceiling_usd_per_month:.2f} USD"
    for agreed in account.overrides:
        until = f", until {agreed.expires_at:%Y-%m-%d %H:%M} UTC" if agreed.expires_at else ""
        yield "agreed", f"{agreed.name} = {agreed.value}{until} ({agreed.reason})"


def _pending(word: str, change: DatedPlan | None) -> str:
    return f", {word} {change.plan.value} ({change.at:%Y-%m-%d})" if change else ""


def _plan_line(plan: PlanLimitsRow) -> str:
    return (
        f"{plan.plan.value:<10}  version {plan.version}  {plan.price_usd_per_month:>7.2f} USD  "
        f"{plan.messages_per_month:>7,} messages  {plan.tokens_per_month:>11,} tokens  "
        f"{plan.images_per_month:>6,} images"
    )
