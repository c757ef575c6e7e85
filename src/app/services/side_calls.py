"""Small calls of cheap models, for titles and summaries: they count as no message, their money is the account's.

Each holds a lease like a turn, and is opened, made and closed like one. Whoever has a transaction of its own to write
with them, opens and closes them in it; the others :meth:`SideCalls.ask`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import structlog

from app.core.clock import Clock, utc_now
from app.core.errors import InvalidField, QuotaExceeded
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.unit_of_work import UnitOfWork
from app.domain.ledger import HOUSE_KINDS, LOST_ATTEMPT
from app.domain.prompting import WireMessage
from app.domain.quotas import TurnAsk
from app.openrouter.attempts import Attempt
from app.openrouter.tokens import estimate_prompt_tokens
from app.openrouter.types import Usage
from app.services.closing import durably, uninterrupted
from app.services.lease_keeper import LeaseKeeper, lease_keeper
from app.services.model_call import (
    AttemptCaching,
    ChatResult,
    ModelCall,
    ModelCallFailed,
    PlannedCompletion,
    sane_usage,
)
from app.services.openrouter_service import NotConfigured, OpenRouterService, openrouter_service
from app.services.quota_service import BilledCall, Lease, QuotaService, quota_service

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SideCallAsk:
    """What is asked, of which model. ``kind`` is what the ledger calls it."""

    kind: str
    messages: Sequence[WireMessage]
    model: str
    max_tokens: int
    temperature: float


@dataclass(frozen=True, slots=True)
class SideCall:
    """A call that may be made: what it holds, and what will be sent."""

    kind: str
    lease: Lease
    planned: PlannedCompletion


@dataclass(frozen=True, slots=True)
class SideAnswer:
    """A call that was made; ``result`` is ``None`` where no model answered."""

    asked: SideCall
    call: ModelCall
    result: ChatResult | None


class SideCalls:
    """Asks, and charges what was billed. Whatever goes wrong is no reason to fail what the call was made for."""

    def __init__(
        self,
        *,
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        leases: LeaseKeeper,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._leases = leases
        self._clock = clock

    async def aclose(self) -> None:
        """Close the connections to OpenRouter; a later call opens them anew."""
        await self._leases.aclose()
        await self._openrouter.aclose()

    async def ask(self, user_id: UUID, ask: SideCallAsk) -> ChatResult | None:
        """The answer, charged; ``None`` where the month's means are spent or no model answered."""
        async with self._database.unit_of_work() as uow:
            opened = await self.open(uow, user_id, ask, made=new_id())
            await uow.commit()
        if opened is None:
            return None
        answer = await self.run(opened)
        await uninterrupted(durably(partial(self._close_alone, answer)))
        return answer.result

    async def open(self, uow: UnitOfWork, user_id: UUID, ask: SideCallAsk, *, made: UUID) -> SideCall | None:
        """Hold what the call may cost; ``None`` where the month's means are spent or the model cannot be asked.

        ``made`` is the id of what is to come of it: if this process dies, the idempotency key claimed for it is freed.
        """
        try:
            planned = self._openrouter.plan(
                messages=ask.messages,
                model=ask.model,
                fallback_models=(),  # not worth a dearer model
                user_id=user_id,
                enable_caching=False,
                temperature=ask.temperature,
                max_tokens=ask.max_tokens,
            )
            lease = await self._reserve(uow, user_id, planned, made)
        except (QuotaExceeded, NotConfigured, InvalidField) as refusal:
            log.warning("side_call.refused", kind=ask.kind, error_code=refusal.code)
            return None
        return SideCall(ask.kind, lease, planned.limited_to(lease.grant.max_tokens))

    async def _reserve(self, uow: UnitOfWork, user_id: UUID, planned: PlannedCompletion, made: UUID) -> Lease:
        now, request = self._clock(), planned.request
        prompt_tokens = estimate_prompt_tokens(request.messages)
        prices = self._openrouter.dearest_prices(planned.route, prompt_tokens=prompt_tokens)
        ask = TurnAsk(prompt_tokens, request.max_tokens, prices, messages=0)
        plan = await uow.subscriptions.require_plan(user_id, now=now)
        return await self._quotas.reserve(uow, user_id, plan, ask, message_id=made, model=request.model, now=now)

    async def run(self, opened: SideCall) -> SideAnswer:
        """Make the call; whoever cancels it gets everything given back. What comes must be closed."""
        call = self._openrouter.call(opened.planned)
        try:
            with self._leases.keep(opened.lease):
                return SideAnswer(opened, call, await call.complete())
        except ModelCallFailed as refusal:
            log.warning("side_call.failed", kind=opened.kind, error_code=refusal.code)
            return SideAnswer(opened, call, None)
        except asyncio.CancelledError:
            await uninterrupted(durably(partial(self._close_alone, SideAnswer(opened, call, None))))
            raise

    async def close(self, uow: UnitOfWork, answer: SideAnswer) -> None:
        """Charge the call that answered; what was billed without an answer is the house's."""
        bills = [_bill(*each, kind=answer.asked.kind) for each in _made(answer.call)]
        lost = [each for each in bills if each.kind in HOUSE_KINDS and (each.cost_usd or each.bill_is_to_come)]
        lease, now = answer.asked.lease, self._clock()
        if answer.result is None:
            await self._quotas.release(uow, lease, lost=lost, now=now)
        else:
            await self._quotas.settle(uow, lease, bills[-1], lost=lost, now=now)

    async def _close_alone(self, answer: SideAnswer) -> None:
        lease = answer.asked.lease
        async with self._database.unit_of_work() as uow:
            await self.close(uow, answer)
            await uow.idempotency.forget_unanswered(lease.user_id, lease.message_id)
            await uow.commit()


def _made(call: ModelCall) -> list[tuple[Attempt, AttemptCaching]]:
    return list(zip(call.attempts, call.caching, strict=True))


def _bill(attempt: Attempt, caching: AttemptCaching, *, kind: str) -> BilledCall:
    usage = sane_usage(attempt.usage or Usage())
    return BilledCall(
        attempt_id=new_id(),
        kind=kind if attempt.error is None else LOST_ATTEMPT,
        message_id=None,
        model=attempt.model,
        provider=attempt.provider,
        generation_id=attempt.generation_id,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens_read=usage.cached_tokens or 0,
        cached_tokens_write=usage.cache_write_tokens or 0,
        cost_usd=usage.cost,
        cache_discount_usd=caching.account.discount_usd,
        discount_is_provisional=not caching.account.is_settled,
    )


side_calls = SideCalls(database=database, openrouter=openrouter_service, quotas=quota_service, leases=lease_keeper)
