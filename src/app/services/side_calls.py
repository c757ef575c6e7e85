"""Small calls of cheap models, for titles and summaries: they count as no message, their money is the account's."""

from collections.abc import Sequence
from uuid import UUID

import structlog

from app.core.clock import Clock, utc_now
from app.core.errors import InvalidField
from app.core.ids import new_id
from app.db.database import Database, database
from app.domain.periods import period_containing
from app.domain.prompting import WireMessage
from app.services.model_call import ChatResult, ModelCallFailed
from app.services.openrouter_service import NotConfigured, OpenRouterService, openrouter_service
from app.services.quota_service import BilledCall, QuotaService, quota_service

log = structlog.get_logger(__name__)


class SideCalls:
    """Asks, and charges what was billed. Whatever goes wrong is no reason to fail what the call was made for."""

    def __init__(
        self, *, database: Database, openrouter: OpenRouterService, quotas: QuotaService, clock: Clock = utc_now
    ) -> None:
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._clock = clock

    async def ask(
        self,
        user_id: UUID,
        messages: Sequence[WireMessage],
        *,
        kind: str,
        model: str,
        max_tokens: int,
        temperature: float,
    ) -> ChatResult | None:
        """The answer, charged as ``kind``; ``None`` where the month's means are spent or no model answered."""
        if not await self._may_ask(user_id):
            return None
        try:
            result = await self._openrouter.chat_completion(
                messages=messages,
                model=model,
                fallback_models=(),  # not worth a dearer model
                user_id=user_id,
                enable_caching=False,
                temperature=temperature,
                max_tokens=max_tokens,
            )
        except (ModelCallFailed, NotConfigured, InvalidField) as error:
            log.warning("side_call.failed", kind=kind, error_code=error.code)
            return None
        await self._charge(user_id, _billed(result, kind))
        return result

    async def _may_ask(self, user_id: UUID) -> bool:
        async with self._database.read_only() as uow:
            usage = await self._quotas.usage(uow, user_id, now=self._clock())
        return usage.balance.cost.free > 0 and usage.balance.tokens.free > 0

    async def _charge(self, user_id: UUID, call: BilledCall) -> None:
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            plan = await uow.subscriptions.require_plan(user_id, now=now)
            period = period_containing(plan.anchor_at, now)
            await self._quotas.charge(uow, user_id, plan.limits.plan, period, call, now=now)
            await uow.commit()


def _billed(result: ChatResult, kind: str) -> BilledCall:
    usage = result.usage
    return BilledCall(
        attempt_id=new_id(),
        kind=kind,
        message_id=None,
        model=result.model,
        provider=result.provider,
        generation_id=result.completion.generation_id,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens_read=usage.cached_tokens or 0,
        cached_tokens_write=usage.cache_write_tokens or 0,
        cost_usd=usage.cost,
        cache_discount_usd=result.cache_discount_usd,
    )


side_calls = SideCalls(database=database, openrouter=openrouter_service, quotas=quota_service)
