"""Keeps valuable prompts in providers' caches with tiny requests, within a budget a day, at the house's cost."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

import structlog
from msgspec import structs
from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.ids import new_id
from app.db.database import Database, database
from app.domain.ledger import KEEP_ALIVE
from app.openrouter.cache_prints import CachedCall, encode
from app.openrouter.cache_rules import cache_rules
from app.openrouter.keep_alive import KeptPrompt, ReturnOdds, keeping_cost, keeping_gain, kept_prompt
from app.openrouter.media import media_in
from app.services.chat_turn import Turn
from app.services.model_call import ChatResult, ModelCallFailed
from app.services.openrouter_service import NotConfigured, OpenRouterService, openrouter_service
from app.services.quota_service import BilledCall, QuotaService, quota_service

log = structlog.get_logger(__name__)

ROUND_SECONDS = 5.0
MARGIN_SECONDS = 30.0
"""So long before a cache runs out it is renewed."""
MOST_RENEWALS = 6
MOST_KEPT = 200
"""Prompts held in memory; the one that was used longest ago makes room."""
AT_ONCE = 10


@dataclass(slots=True)
class _Kept:
    """A conversation's newest prompt, and when its cache has to be renewed (Unix seconds).

    ``turn`` is None once it is not renewed any more: then it is only watched whether its conversation comes back.
    """

    turn: Turn | None
    left: CachedCall
    prompt: KeptPrompt
    due: float
    stage: int = 0
    observed: int | None = None
    """The silence that is being observed, by its stage."""


class CacheKeeper:
    """Off where ``CACHE_KEEP_ALIVE_USD_PER_DAY`` is 0. Prompts live in this process's memory alone, for minutes."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._clock = clock
        self._odds = ReturnOdds(MOST_RENEWALS)
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._spent: tuple[date, Decimal] = (date.min, Decimal(0))

    @property
    def is_on(self) -> bool:
        """Whether anything may be spent."""
        return self._settings().cache_keep_alive_usd_per_day > 0

    def note(self, turn: Turn, result: ChatResult) -> None:
        """An answered turn: its prompt is the one to keep now."""
        if not self.is_on:
            return
        before = self._kept.pop(turn.conversation_id, None)
        if before is not None and before.observed is not None:
            self._odds.count(before.observed, came=True)
        if turn.planned.search is not None:
            return  # sent again it might search again; without its tool it would be another prompt
        cache, profile = turn.planned.cache, self._openrouter.catalog.get(result.model)
        prompt = kept_prompt(result.usage, cache.blocks, cache.breakpoints, cache_rules(result.model, profile))
        left = result.caching[-1].left
        if prompt is None or profile is None or left is None or not turn.planned.caching.is_enabled:
            return
        if any(True for _ in media_in(turn.planned.request.messages)):
            return  # to say it once more all its files would have to be sent
        best = keeping_gain(prompt, profile.prices, 1.0)
        if best is None or best <= 0:
            return
        due = self._now() + prompt.seconds - MARGIN_SECONDS
        self._kept[turn.conversation_id] = _Kept(turn, left, prompt, due)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    async def run_forever(self) -> None:
        """Renew what is worth it until cancelled; the app's lifespan runs and ends this."""
        while True:
            try:
                await self.run_once()
            except (SQLAlchemyError, OSError) as error:
                log.warning("keep_alive.failed", kind=type(error).__name__)
            await asyncio.sleep(ROUND_SECONDS)

    async def run_once(self) -> None:
        """Renew what is due and worth it, the most valuable first, as far as the day's budget goes."""
        wanted = sorted(self._take_due(), key=lambda each: each[0], reverse=True)[:AT_ONCE]
        if not wanted:
            return
        now = self._clock()
        async with self._database.read_only() as uow:
            spent = await uow.ledger.get_spent(KEEP_ALIVE, now.date())
            turns = [kept.turn for _, kept in wanted if kept.turn is not None]
            there = await uow.conversations.list_existing([(turn.user_id, turn.conversation_id) for turn in turns])
        left = self._settings().cache_keep_alive_usd_per_day - max(spent, self._spent_here(now.date()))
        await asyncio.gather(*(self._renew(kept) for kept in self._affordable(wanted, there, left)))

    def _take_due(self) -> list[tuple[Decimal, _Kept]]:
        """What has to be renewed now, with its expected gain. What is not worth it is only watched from here on."""
        now, wanted = self._now(), []
        for conversation_id, kept in list(self._kept.items()):
            if kept.due > now:
                continue
            if kept.observed is not None:
                self._odds.count(kept.observed, came=False)
                kept.observed = None
            if kept.turn is None or kept.stage >= MOST_RENEWALS or now >= kept.due + MARGIN_SECONDS:
                del self._kept[conversation_id]
                continue
            gain = self._gain(kept)
            kept.observed = kept.stage
            kept.stage += 1
            turn, kept.due = kept.turn, now + kept.prompt.seconds
            if gain > 0:
                wanted.append((gain, kept))
            else:
                kept.turn = None
            log.debug("keep_alive.considered", conversation_id=str(turn.conversation_id), gain_usd=str(gain))
        return wanted

    def _gain(self, kept: _Kept) -> Decimal:
        profile = self._openrouter.catalog.get(kept.left.model)
        gain = keeping_gain(kept.prompt, profile.prices, self._odds.chance(kept.stage)) if profile else None
        return Decimal(0) if gain is None else gain

    def _cost(self, kept: _Kept) -> Decimal | None:
        profile = self._openrouter.catalog.get(kept.left.model)
        return keeping_cost(kept.prompt, profile.prices) if profile else None

    def _affordable(
        self, wanted: Collection[tuple[Decimal, _Kept]], there: Collection[UUID], left: Decimal
    ) -> list[_Kept]:
        chosen = []
        for _, kept in wanted:
            cost = self._cost(kept)
            if kept.turn is None or kept.turn.conversation_id not in there or cost is None or cost > left:
                kept.turn = None
                continue
            left -= cost
            chosen.append(kept)
        return chosen

    async def _renew(self, kept: _Kept) -> None:
        turn = kept.turn
        if turn is None:
            return
        try:
            result = await self._openrouter.keep_warm(turn.planned, kept.left)
        except (ModelCallFailed, NotConfigured) as error:
            log.warning("keep_alive.refused", error_code=error.code, model=kept.left.model)
            kept.turn = None
            return
        found = result.usage.cached_tokens or 0
        if 2 * found < kept.prompt.cached_tokens:  # it was forgotten already
            kept.turn = None
        else:
            kept.due = self._now() + kept.prompt.seconds - MARGIN_SECONDS
            kept.left = _used_again(kept.left, result, now=self._now())
        await self._enter(turn, kept, result)
        log.info("keep_alive.sent", model=result.model, cost_usd=str(result.total_cost_usd), found_tokens=found)

    async def _enter(self, turn: Turn, kept: _Kept, result: ChatResult) -> None:
        now = self._clock()
        call = _billed_call(result)
        # A bill that is to come is in no sum of the day yet: until then its estimate counts against the budget.
        cost = self._cost(kept) if call.cost_usd is None else call.cost_usd
        self._spent = (now.date(), self._spent_here(now.date()) + (cost or Decimal(0)))
        async with self._database.unit_of_work() as uow:
            if call.bill_is_to_come:
                await self._quotas.queue(uow, turn.user_id, turn.lease.plan, turn.lease.period, call, now=now)
            else:
                await self._quotas.record(uow, turn.user_id, turn.lease.plan, turn.lease.period, call, now=now)
            # The next turn, in whichever process, reckons from here.
            await uow.turns.renew_cached_call(turn.user_id, turn.message_id, encode(kept.left))
            await uow.commit()

    def _spent_here(self, day: date) -> Decimal:
        return self._spent[1] if self._spent[0] == day else Decimal(0)

    def _now(self) -> float:
        return self._clock().timestamp()


def _used_again(left: CachedCall, result: ChatResult, *, now: float) -> CachedCall:
    was_ordered = result.caching[-1].left is not None and result.caching[-1].left.was_ordered
    return structs.replace(left, began_at=now, was_ordered=was_ordered)


def _billed_call(result: ChatResult) -> BilledCall:
    """The house's line. Reading was no saving of anybody's: nobody had asked."""
    usage = result.usage
    return BilledCall(
        attempt_id=new_id(),
        kind=KEEP_ALIVE,
        message_id=None,
        model=result.model,
        provider=result.provider,
        generation_id=result.completion.generation_id,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens_read=usage.cached_tokens or 0,
        cached_tokens_write=usage.cache_write_tokens or 0,
        cost_usd=usage.cost,
        cache_discount_usd=None,
    )


cache_keeper = CacheKeeper(
    settings=get_settings, database=database, openrouter=openrouter_service, quotas=quota_service
)
