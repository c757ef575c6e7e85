"""What is remembered of conversations and prefixes: learned from each prompt that was answered, bounded in size."""

from dataclasses import dataclass

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_features import (
    LAST_STAGE,
    NOT_SEEN,
    Context,
    head_of,
    prefix_features,
    return_features,
    route_of,
    slot_of,
    survival_key,
)
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_rhythm import Bounded, Key, Rhythm, Wait, bucket_of
from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_shadow import Live, Shadow

STRIKES = 2
DOUBTED_AFTER = 3_600.0
CLOSE_TO = 0.85
"""Lengths are estimates: a prefix counts as found when at least this share of it was read."""


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

    def count(self, key: Key, happened: float, *, times: float = 1.0) -> None:
        odds = self._odds.touch(key)
        if odds is None:
            odds = Odds()
            self._odds.put(key, odds)
        odds.times += times
        odds.happened += happened


class LearnedMinimum:
    """Per model: a length at which marks were seen to have no effect, so that the true minimum must lie above it.

    Believed after two answers that neither read nor wrote anything, and doubted again after an hour.
    """

    def __init__(self) -> None:
        self._seen: Bounded[str, tuple[float, int, float]] = Bounded(500)

    def of(self, model: str, now: float) -> float:
        """In the model's tokens; 0 where nothing speaks against the published minimum."""
        length, strikes, since = self._seen.get(model, (0.0, 0, now))
        return length + 1.0 if strikes >= STRIKES and now - since < DOUBTED_AFTER else 0.0

    def learn(self, ticket: "CacheTicket", usage: "CacheUsage", scale: float) -> None:
        """From an answer that says what it read and what it wrote."""
        read, wrote = usage.cached_tokens, usage.cache_write_tokens
        if read is None or wrote is None or not ticket.breakpoints:
            return
        marked = ticket.blocks.ends[ticket.breakpoints[-1].block] * scale
        length, strikes, since = self._seen.get(ticket.model, (0.0, 0, ticket.now))
        if read or wrote:
            if marked <= length:
                self._seen.pop(ticket.model, None)
        elif ticket.now - since < DOUBTED_AFTER:
            self._seen.put(ticket.model, (max(length, marked), strikes + 1, ticket.now))
        else:
            self._seen.put(ticket.model, (marked, 1, ticket.now))


class Means:
    """Means by key."""

    def __init__(self, prior: float, weight: float, *, most: int = 1_000) -> None:
        self._prior = prior
        self._weight = weight
        self._sums: Bounded[Key, Odds] = Bounded(most)

    def mean(self, key: Key) -> float:
        sums = self._sums.get(key)
        return self._prior if sums is None else sums.mean(self._prior, self._weight)

    def add(self, key: Key, amount: float) -> None:
        sums = self._sums.touch(key)
        if sums is None:
            sums = Odds()
            self._sums.put(key, sums)
        sums.times += 1.0
        sums.happened += amount


@dataclass(slots=True)
class ConversationState:
    """A conversation as its last answered prompt left it."""

    turns: int
    last: float
    prefixes: frozenset[int]
    fresh: list[tuple[Key, int, int]]
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
class Ask:
    """A prompt about to be sent. `live` is what is believed to be in the cache already."""

    model: str
    rules: CacheRules
    blocks: PromptBlocks
    live: Live | None
    conversation: str | None
    user: str | None
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTicket(Ask):
    """A planned prompt, for `observe`."""

    breakpoints: tuple[Breakpoint, ...]


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
        self.growth = Means(prior=400.0, weight=3.0)
        """Tokens that a request adds to what stays of a conversation."""
        self._lengths = OddsTable(prior=1.0, weight=2_000.0)
        self.minimum = LearnedMinimum()
        self.holding = OddsTable(prior=0.99, weight=30.0)
        """Whether what should be in the cache is found there."""

    def context(self, blocks: PromptBlocks, conversation: str | None, user: str | None, now: float) -> Context:
        """What the chances of a conversation's return depend on."""
        known = self.conversations.get(conversation) if conversation is not None else None
        bucket = NOT_SEEN if known is None else bucket_of(now - known.last)
        return Context(
            route_of(blocks),
            min(blocks.turns, LAST_STAGE),
            blocks.roles[-1] == "tool",
            bucket,
            user,
        )

    def observe(self, ticket: CacheTicket, usage: CacheUsage) -> None:
        """Learn from an answered prompt."""
        if not len(ticket.blocks):
            return
        if usage.prompt_tokens:
            self._lengths.count(ticket.model, usage.prompt_tokens, times=ticket.blocks.ends[-1])
        if ticket.rules.takes_marks:
            self.minimum.learn(ticket, usage, self.length(ticket.model))
            self._correct_shadow(ticket, usage)
        self._see_prefixes(ticket)
        if ticket.conversation is not None:
            self._see_conversation(ticket, ticket.conversation)

    def _see_conversation(self, ticket: CacheTicket, conversation: str) -> None:
        blocks, now = ticket.blocks, ticket.now
        context = self.context(blocks, conversation, ticket.user, now)
        present = frozenset(blocks.prefixes)
        known = self.conversations.touch(conversation)
        if known is not None and now < known.last:
            return  # another process told of it too late
        if known is not None:
            known.wait.gap = now - known.last
            self.staying.count((known.context[0], known.context[2]), blocks.turns == known.turns)
            kept = 0
            for key, prefix, tokens in known.fresh:
                self.survival.count(key, prefix in present)
                if prefix not in present:
                    break
                kept += tokens
            if known.context[3] != NOT_SEEN:
                self.growth.add(known.context[0], min(kept, 20_000))
        old = known.prefixes if known is not None else frozenset()
        fresh = [
            (survival_key(blocks, at), prefix, blocks.tokens[at])
            for at, prefix in enumerate(blocks.prefixes)
            if prefix not in old and not self.is_shared(ticket.model, prefix)
        ]
        wait = self.rhythm.begin(now, return_features(context))
        self.conversations.put(conversation, ConversationState(blocks.turns, now, present, fresh, wait, context))

    def length(self, model: str) -> float:
        """How many of the model's tokens one estimated token turns out to be."""
        return self._lengths.chance(model)

    def is_shared(self, model: str, prefix: int) -> bool:
        """Whether several conversations used this prefix."""
        state = self.prefixes.get((model, prefix))
        return state is not None and state.is_shared

    def _see_prefixes(self, ticket: CacheTicket) -> None:
        blocks, now = ticket.blocks, ticket.now
        for at in range(head_of(blocks)):
            key, slot = (ticket.model, blocks.prefixes[at]), slot_of(blocks, at)
            wait = self.rhythm.begin(now, prefix_features(*key, slot))
            state = self.prefixes.touch(key)
            if state is None:
                self.sharing.count(slot, False)
                self.prefixes.put(key, PrefixState(ticket.conversation, now, wait))
                continue
            if not state.is_shared and state.owner != ticket.conversation:
                state.is_shared = True
                self.sharing.count(slot, True, times=0.0)
            if now < state.last:  # another process told of it late: the next use has come already
                wait.gap = state.last - now
                continue
            state.wait.gap = now - state.last
            state.wait, state.last = wait, now

    def _correct_shadow(self, ticket: CacheTicket, usage: CacheUsage) -> None:
        blocks, model, now = ticket.blocks, ticket.model, ticket.now
        seconds = {each.ttl: each.seconds for each in ticket.rules.lifetimes}
        hit, cached = ticket.live, usage.cached_tokens
        if hit is not None and cached is not None:
            told = cached / ((usage.prompt_tokens or blocks.ends[-1]) / blocks.ends[-1])
            found = told >= CLOSE_TO * blocks.ends[hit.block]
            self.holding.count("head" if hit.block < head_of(blocks) else "turn", found)
            if not found:
                for at in range(hit.block, -1, -1):
                    if CLOSE_TO * blocks.ends[at] <= told:
                        break
                    self.shadow.drop(model, blocks.prefixes[at])
                hit = self.shadow.deepest(model, blocks.prefixes, now) if cached else None
        marks = [(point.block, seconds.get(point.ttl, 300.0)) for point in ticket.breakpoints]
        if usage.cache_write_tokens == 0:  # told so: nothing was written behind what was read
            marks = [mark for mark in marks if hit is not None and mark[0] <= hit.block]
        if marks:
            self.shadow.replay(model, blocks.prefixes, marks, hit, now)
