"""The caches of all hosts: what a prompt reads, and what it leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.clock import Clock
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.prompt_cache.blocks import Block, read_blocks
from openrouter_emulator.prompt_cache.counts import CacheCounts
from openrouter_emulator.prompt_cache.rules import NO_CACHE, CacheRule, Mechanism, rule_for

Key = tuple[str, str, str, str]
"""Account, provider, model, prefix."""
MAX_ENTRIES = 200_000


@dataclass(slots=True)
class Entry:
    """`lifetime` is seconds, from the last read where reads refresh."""

    tokens: int
    lifetime: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Visit:
    """What one request does to the cache: counts now, entries once the answer has begun."""

    counts: CacheCounts
    read: Key | None = None
    writes: tuple[tuple[Key, int, float], ...] = ()
    refreshes: bool = True


@dataclass(frozen=True, slots=True)
class Marked:
    """A place up to which the prompt may be cached."""

    index: int
    block: Block
    lifetime: float
    is_long: bool


@dataclass(slots=True)
class PromptCache:
    clock: Clock
    _entries: dict[Key, Entry] = field(default_factory=dict)

    def look_up(self, account: str, host: Host, request: ChatRequest) -> Visit:
        """The tokens read and written, without changing anything yet."""
        rule = rule_for(host.model.id) if host.caches else NO_CACHE
        if rule.mechanism is Mechanism.NONE:
            return Visit(CacheCounts())
        blocks = read_blocks(request, options_matter=rule.options_matter)
        marks = _marks(blocks, rule, request)
        found = self._longest(account, host, blocks, marks, rule)
        read = found[1].tokens if found else 0
        writes = [mark for mark in marks if mark.block.tokens > read and mark.block.tokens >= rule.min_tokens]
        return Visit(
            counts=_counts(read, writes, rule, blocks),
            read=found[0] if found else None,
            writes=tuple((_key(account, host, mark.block), mark.block.tokens, mark.lifetime) for mark in writes),
            refreshes=rule.refreshed_by_reads,
        )

    def commit(self, visit: Visit) -> None:
        """Entries become readable once the answer has begun; a read renews the entry it used."""
        now = self.clock.now()
        if visit.read is not None and visit.refreshes and (entry := self._entries.get(visit.read)):
            entry.expires_at = now + entry.lifetime
        for key, tokens, lifetime in visit.writes:
            self._entries[key] = Entry(tokens, lifetime, now + lifetime)
        if len(self._entries) > MAX_ENTRIES:
            self._entries = {key: entry for key, entry in self._entries.items() if entry.expires_at > now}

    def clear(self) -> None:
        self._entries.clear()

    def _longest(
        self, account: str, host: Host, blocks: Sequence[Block], marks: Sequence[Marked], rule: CacheRule
    ) -> tuple[Key, Entry] | None:
        """The longest live entry at a mark, or among the blocks before it that the vendor looks back over."""
        if rule.mechanism is Mechanism.MARKED:
            places = {at for mark in marks for at in range(max(0, mark.index - rule.lookback), mark.index + 1)}
        else:
            places = set(range(len(blocks)))
        now = self.clock.now()
        for at in sorted(places, reverse=True):
            key = _key(account, host, blocks[at])
            entry = self._entries.get(key)
            if entry is not None and entry.expires_at > now:
                return key, entry
        return None


def _key(account: str, host: Host, block: Block) -> Key:
    return account, host.name, host.model.id, block.prefix


def _marks(blocks: Sequence[Block], rule: CacheRule, request: ChatRequest) -> list[Marked]:
    options = request.prompt_cache_options or {}
    marked = [(index, block) for index, block in enumerate(blocks) if block.marker is not None]
    explicit = [_marked(index, block, rule, options.get("ttl")) for index, block in marked]
    if rule.mechanism is Mechanism.AUTOMATIC:
        return [Marked(index, _stepped(block, rule), rule.lifetime, False) for index, block in enumerate(blocks)]
    if rule.max_markers is not None:
        _refuse_bad_markers(explicit, rule.max_markers)
    if rule.mechanism is Mechanism.MARKED:
        return explicit
    if rule.last_marker_only and explicit:
        return explicit[-1:]
    if rule.last_marker_only:
        return [Marked(index, block, rule.lifetime, False) for index, block in enumerate(blocks)]
    if options.get("mode") == "explicit":
        return explicit[-4:]
    implicit = [_marked(len(blocks) - 1, blocks[-1], rule, options.get("ttl"))] if blocks else []
    return explicit[-3:] + [mark for mark in implicit if mark.index not in {one.index for one in explicit}]


def _marked(index: int, block: Block, rule: CacheRule, usual_ttl: str | None) -> Marked:
    """`usual_ttl`: of the whole request, where a marker names none of its own."""
    ttl = (block.marker or {}).get("ttl") or usual_ttl
    is_long = ttl is not None and ttl == rule.long_ttl
    return Marked(index, block, rule.long_lifetime if is_long else rule.lifetime, is_long)


def _stepped(block: Block, rule: CacheRule) -> Block:
    """Vendors that cache by themselves keep whole steps only."""
    return Block(block.prefix, block.tokens // rule.step * rule.step, None)


def _refuse_bad_markers(marks: Sequence[Marked], most: int) -> None:
    if len(marks) > most:
        raise ApiError(
            400, f"A maximum of {most} blocks with cache_control may be provided. Found {len(marks)}.", metadata={}
        )
    if any(later.is_long and not earlier.is_long for earlier, later in pairwise(marks)):
        raise ApiError(400, "A cache_control block with ttl='1h' must not come after a ttl='5m' block.", metadata={})


def _counts(read: int, writes: Sequence[Marked], rule: CacheRule, blocks: Sequence[Block]) -> CacheCounts:
    cached = min(read, blocks[-1].tokens) if blocks else 0
    is_implicit = rule.last_marker_only and not any(mark.block.marker for mark in writes)
    if not rule.charges_writes or not writes or is_implicit:
        return CacheCounts(cached=cached)
    longest = max((mark.block.tokens for mark in writes if mark.is_long), default=read)
    total = max(mark.block.tokens for mark in writes)
    return CacheCounts(cached=cached, written=total - longest, written_1h=longest - read)
