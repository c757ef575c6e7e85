"""Writes breakpoints into a prompt: on content parts and tools, where OpenRouter reads them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_rules import CacheRules

Wire = Mapping[str, Any]
SHORTEST_FIRST = ("5m", "30m", "1h")


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A mark behind a block of the prompt, and how long what it writes shall live: `5m`, `30m` or `1h`."""

    block: int
    ttl: str


def on_content(planned: Sequence[Breakpoint], empty: Collection[int], first: int) -> list[Breakpoint]:
    """The marks on empty blocks moved forward to what stands before them, but not before the block `first`."""
    moved: dict[int, str] = {}
    for point in planned:
        block = next((at for at in range(point.block, first - 1, -1) if at not in empty), None)
        if block is not None:  # of two marks on one block the first lives at least as long
            moved.setdefault(block, point.ttl)
    return [Breakpoint(block, ttl) for block, ttl in moved.items()]


def with_clients_marks(
    planned: Sequence[Breakpoint], client: Mapping[int, str], rules: CacheRules
) -> tuple[Breakpoint, ...]:
    """The client's marks, all of them, and of the planned ones, last first, as many as still fit.

    No planned mark stands before a client's with a shorter life, nor behind one with a longer life.
    """
    chosen = dict(client)
    for point in sorted(planned, key=lambda each: each.block, reverse=True):
        if len(chosen) < rules.max_marks:
            chosen.setdefault(point.block, point.ttl)
    longest, kept = 0, []
    for block in sorted(chosen, reverse=True):
        rank = max(longest, _rank(chosen[block]))
        shortest_before = min((_rank(ttl) for other, ttl in client.items() if other < block), default=rank)
        if block not in client:
            rank = min(rank, shortest_before)
        longest = max(longest, rank)
        kept.append(Breakpoint(block, chosen[block] if block in client else SHORTEST_FIRST[rank]))
    return tuple(reversed(kept))


def _rank(ttl: str) -> int:
    """Lifetimes nobody knows, which only clients write, count as the shortest."""
    return SHORTEST_FIRST.index(ttl) if ttl in SHORTEST_FIRST else 0


def write_marks(
    messages: Sequence[Wire],
    tools: Sequence[Wire] | None,
    blocks: PromptBlocks,
    points: Sequence[Breakpoint],
) -> tuple[Sequence[Wire], Sequence[Wire] | None]:
    """Messages and tools with a mark at every breakpoint; what bears no mark stays the object it was."""
    marked, marked_tools = list(messages), list(tools or ())
    for point in points:
        message, part = blocks.places[point.block]
        # OpenAI knows no lifetimes here: its breakpoints are told without one.
        lasting = {"ttl": point.ttl} if point.ttl == "1h" else {}
        mark = {"cache_control": {"type": "ephemeral", **lasting}}
        if message < 0:
            marked_tools[part] = {**marked_tools[part], **mark}
            continue
        whole = marked[message]
        content = whole["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        parts[part] = {**parts[part], **mark}
        marked[message] = {**whole, "content": parts}
    return marked, marked_tools if tools else tools
