"""What is remembered of conversations and prefixes: learned from each prompt that was answered, bounded in size."""

from collections.abc import Hashable
from dataclasses import dataclass

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_rhythm import Bounded, Key, Rhythm, Wait, bucket_of
from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_shadow import Live, Shadow

LAST_STAGE = 6
"""Turns are told apart up to this one."""
NOT_SEEN = -1
"""The gap bucket of a conversation's first request."""

Route = tuple[bool, int, int]
"""Whether there are tools, where documents stand (bits), how many system blocks: alike in looks, alike in rhythm."""
Context = tuple[Route, int, bool, int]
"""Route, stage, whether a tool's answer came last, bucket of the last gap."""


@dataclass(slots=True)
class Odds:
    """How often something happened out of so many times."""

    happened: float = 0.0
    times: float = 0.0

    def mean(self, prior: float, weight: float) -> float:
        return (self.happened + prior * weight) / (self.times + weight)


class OddsTable:
    """Odds by key."""

    def __init__(self, prior: float, weight: float, *, most: int = 5_000) -> None:
        self._prior = prior
        self._weight = weight
        self._odds: Bounded[Key, Odds] = Bounded(most)

    def chance(self, key: Key, *, prior: float | None = None) -> float:
        odds = self._odds.get(key)
        prior = self._prior if prior is None else prior
        return prior if odds is None else odds.mean(prior, self._weight)

    def count(self, key: Key, happened: bool, *, times: float = 1.0) -> None:
        odds = self._odds.touch(key)
        if odds is None:
            odds = Odds()
            self._odds.put(key, odds)
        odds.times += times
        odds.happened += happened


@dataclass(slots=True)
class ConversationState:
    """A conversation as its last answered prompt left it."""

    turns: int
    last: float
    prefixes: frozenset[int]
    fresh: list[tuple[Key, int]]
    """What was new in it and is not shared: its key in the survival odds, and its prefix."""
    wait: Wait
    context: Context


@dataclass(slots=True)
class PrefixState:
    """A prefix before the first question: who used it first, and whether anybody else did since."""

    owner: str | None
    last: float
    wait: Wait
    is_shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTicket:
    """A planned prompt, for `observe`."""

    model: str
    rules: CacheRules
    blocks: PromptBlocks
    breakpoints: tuple[Breakpoint, ...]
    live: Live | None
    """What was believed to be in the cache already."""
    conversation: str | None
    user: str | None
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUsage:
    """What an answer said about its prompt; None where it did not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CacheMemory:
    """All that is learned. `observe` is told of every answered prompt, in the order of their starts if possible."""

    def __init__(self) -> None:
        self.rhythm = Rhythm()
        self.shadow = Shadow()
        self.conversations: Bounded[str, ConversationState] = Bounded(20_000)
        self.prefixes: Bounded[tuple[str, int], PrefixState] = Bounded(5_000)
        self.survival = OddsTable(prior=0.9, weight=4.0)
        """Whether a new block is still there in the next prompt of its conversation."""
        self.sharing = OddsTable(prior=0.7, weight=2.0)
        """Whether a prefix before the first question is used by a second conversation."""
        self.staying = OddsTable(prior=0.1, weight=5.0)
        """Whether the next prompt belongs to the same turn: a tool's answer, another try."""
        self.holding = OddsTable(prior=0.98, weight=20.0)
        """Whether what should be in the cache is found there."""

    def context(self, blocks: PromptBlocks, conversation: str | None, now: float) -> Context:
        """What the chances of a conversation's return depend on."""
        known = self.conversations.get(conversation) if conversation is not None else None
        bucket = NOT_SEEN if known is None else bucket_of(now - known.last)
        return route_of(blocks), min(blocks.turns, LAST_STAGE), blocks.roles[-1] == "tool", bucket

    def observe(self, ticket: CacheTicket, usage: CacheUsage) -> None:
        """Learn from an answered prompt."""
        if not len(ticket.blocks):
            return
        if ticket.rules.takes_marks:
            self._correct_shadow(ticket, usage)
        self._see_prefixes(ticket)
        if ticket.conversation is not None:
            self._see_conversation(ticket, ticket.conversation)

    def _see_conversation(self, ticket: CacheTicket, conversation: str) -> None:
        blocks, now = ticket.blocks, ticket.now
        context = self.context(blocks, conversation, now)
        present = frozenset(blocks.prefixes)
        known = self.conversations.touch(conversation)
        if known is not None:
            known.wait.gap = now - known.last
            self.staying.count((known.context[0], known.context[2]), blocks.turns == known.turns)
            for key, prefix in known.fresh:
                self.survival.count(key, prefix in present)
                if prefix not in present:
                    break
        old = known.prefixes if known is not None else frozenset()
        fresh = [
            (key, prefix)
            for key, prefix in zip(survival_keys(blocks), blocks.prefixes, strict=True)
            if prefix not in old and not self.is_shared(ticket.model, prefix)
        ]
        wait = self.rhythm.begin(now, return_keys(context))
        self.conversations.put(conversation, ConversationState(blocks.turns, now, present, fresh, wait, context))

    def is_shared(self, model: str, prefix: int) -> bool:
        """Whether several conversations used this prefix."""
        state = self.prefixes.get((model, prefix))
        return state is not None and state.is_shared

    def _see_prefixes(self, ticket: CacheTicket) -> None:
        blocks, now = ticket.blocks, ticket.now
        for at in range(head_of(blocks)):
            key, slot = (ticket.model, blocks.prefixes[at]), slot_of(blocks, at)
            wait = self.rhythm.begin(now, (("slot", *slot), ("prefix", *key)))
            state = self.prefixes.touch(key)
            if state is None:
                self.sharing.count(slot, False)
                self.prefixes.put(key, PrefixState(ticket.conversation, now, wait))
                continue
            if not state.is_shared and state.owner != ticket.conversation:
                state.is_shared = True
                self.sharing.count(slot, True, times=0.0)
            state.wait.gap = now - state.last
            state.wait, state.last = wait, now

    def _correct_shadow(self, ticket: CacheTicket, usage: CacheUsage) -> None:
        blocks, model, now = ticket.blocks, ticket.model, ticket.now
        seconds = {each.ttl: each.seconds for each in ticket.rules.lifetimes}
        hit, cached = ticket.live, usage.cached_tokens
        if hit is not None and cached is not None:
            found = cached >= 0.9 * blocks.ends[hit.block]
            self.holding.count("head" if hit.block < head_of(blocks) else "turn", found)
            if not found:
                for at in range(hit.block, -1, -1):
                    if blocks.ends[at] <= 1.1 * cached:
                        break
                    self.shadow.drop(model, blocks.prefixes[at])
                hit = self.shadow.deepest(model, blocks.prefixes, now) if cached else None
        marks = [(point.block, seconds.get(point.ttl, 300.0)) for point in ticket.breakpoints]
        if marks:
            self.shadow.replay(model, blocks.prefixes, marks, hit, now)


def route_of(blocks: PromptBlocks) -> Route:
    """Tools, documents and system blocks of a prompt."""
    documents, newest = 0, blocks.places[-1][0]
    for kind, role, place in zip(blocks.kinds, blocks.roles, blocks.places, strict=True):
        if kind == "rag":
            documents |= 1 if role == "system" else 2 if place[0] == newest else 4
    return blocks.roles[0] == "tools", documents, min(blocks.roles.count("system"), 3)


def return_keys(context: Context) -> tuple[Hashable, ...]:
    """Whose tallies a conversation's return counts in, from the coarsest to the finest."""
    route, stage, is_loop, bucket = context
    return (
        "return",
        ("return", bucket, is_loop),
        ("return", route, bucket, is_loop),
        ("return", route, stage, bucket, is_loop),
    )


def slot_of(blocks: PromptBlocks, at: int) -> tuple[str, int]:
    """What and where a block is: prefixes that end there are used alike."""
    return blocks.kinds[at], at


def head_of(blocks: PromptBlocks) -> int:
    """How many blocks stand before the first message that is not a system message."""
    roles = ("tools", "system", "developer")
    return next((at for at, role in enumerate(blocks.roles) if role not in roles), len(blocks))


def survival_keys(blocks: PromptBlocks) -> list[Key]:
    """By block: kind, role, whether it is in the newest message, and for documents the size."""
    newest = blocks.places[-1][0]
    return [
        (kind, role, place[0] == newest, min(count.bit_length(), 13) // 2 if kind == "rag" else 0)
        for kind, role, place, count in zip(blocks.kinds, blocks.roles, blocks.places, blocks.tokens, strict=True)
    ]
