"""The books of an account, against what OpenRouter billed."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import select

from app.db.models import UsageEvent
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.served import ServedApp


async def ledger_lines(app: ServedApp, person: Person) -> Sequence[UsageEvent]:
    """The account's lines, oldest first."""
    async with app.services.database.read_only() as uow:
        query = select(UsageEvent).where(UsageEvent.user_id == person.user_id).order_by(UsageEvent.id)
        return (await uow._session.scalars(query)).all()


async def require_sound_books(app: ServedApp, openrouter: EmulatorProcess, person: Person) -> None:
    """Every call is in the ledger at what it was billed, to the last digit, and so is the month."""
    lines = await ledger_lines(app, person)
    billed = openrouter.bill(*{line.generation_id for line in lines if line.generation_id})
    assert sum((line.cost_usd or Decimal(0) for line in lines), Decimal(0)) == Decimal(billed["total"])
    usage = await person.usage()
    assert Decimal(str(usage["total_cost_usd"])).quantize(Decimal("1e-9")) == Decimal(billed["total"]).quantize(
        Decimal("1e-9")
    )
