"""Decides which parts of a prompt are marked for the vendor's cache, by what a mark costs and what it will save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.openrouter.cache_blocks import BlockReader, Kind, PromptBlocks
from app.openrouter.cache_features import head_of
from app.openrouter.cache_marks import Breakpoint, on_content, with_clients_marks, write_marks
from app.openrouter.cache_memory import Ask, CacheMemory, CacheTicket, CacheUsage
from app.openrouter.cache_placement import NOWHERE, cheapest_cut
from app.openrouter.cache_prints import CachedCall
from app.openrouter.cache_rules import CacheRules, cache_rules
from app.openrouter.cache_shadow import Live
from app.openrouter.cache_warmth import live_by_print
from app.openrouter.cache_worth import Worth
from app.openrouter.models import ModelProfile

__all__ = [
    "Breakpoint",
    "CachePlan",
    "CachePlanner",
    "CachePolicy",
    "CacheStrategy",
    "CacheTicket",
    "CacheUsage",
    "Kind",
]

CacheStrategy = Literal["auto", "system", "conversation", "off"]
"""`auto`: where a mark is expected to save money. `system`: the system prompt. `conversation`: the system prompt and
the whole prompt. `off`: nothing."""
EXPLICIT = {"mode": "explicit"}
"""Keeps vendors that write paid entries by themselves from doing so beyond our marks; without any, they write none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """`min_tokens` (estimated) is a floor on top of the model's own minimum: shorter prefixes stay unmarked."""

    strategy: CacheStrategy = "auto"
    min_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """Messages and tools with their marks, and what was decided about them."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    prompt_cache_options: Mapping[str, Any] | None
    ticket: CacheTicket

    @property
    def breakpoints(self) -> tuple[Breakpoint, ...]:
        """The marks, at most 4, from the front to the back."""
        return self.ticket.breakpoints


class CachePlanner:
    """Plans prompts and learns from their answers. One a process; not for use by several threads at once.

    Time is an argument: seconds of any clock that all calls share.
    """

    def __init__(self) -> None:
        self.memory = CacheMemory()
        self._reader = BlockReader()
        self._worth = Worth(self.memory)
        self._known_rules: dict[str, tuple[ModelProfile | None, CacheRules]] = {}

    def plan(
        self,
        messages: Sequence[Mapping[str, Any]],
        model: str,
        *,
        now: float,
        profile: ModelProfile | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        kinds: Sequence[Sequence[Kind]] | None = None,
        tokens: Sequence[Sequence[int]] | None = None,
        tools_tokens: int | None = None,
        conversation: str | None = None,
        user: str | None = None,
        earlier: Sequence[CachedCall] = (),
        policy: CachePolicy | None = None,
    ) -> CachePlan:
        """Where to mark a prompt. `kinds` and `tokens` are by message and part; left out, both are guessed.

        `earlier` are calls of the conversation, newest first, for what this planner itself does not remember.
        """
        blocks = self._reader.read(messages, tools=tools or (), kinds=kinds, tokens=tokens, tools_tokens=tools_tokens)
        ticket = self.decide(
            blocks,
            model,
            now=now,
            profile=profile,
            conversation=conversation,
            user=user,
            earlier=earlier,
            policy=policy,
        )
        own = [point for point in ticket.breakpoints if point.block not in blocks.marks]
        marked, marked_tools = write_marks(messages, tools, blocks, own) if own else (messages, tools)
        return CachePlan(
            messages=marked,
            tools=marked_tools,
            prompt_cache_options=EXPLICIT if ticket.rules.mechanism == "breakpoints" else None,
            ticket=ticket,
        )

    def decide(
        self,
        blocks: PromptBlocks,
        model: str,
        *,
        now: float,
        profile: ModelProfile | None = None,
        conversation: str | None = None,
        user: str | None = None,
        earlier: Sequence[CachedCall] = (),
        policy: CachePolicy | None = None,
    ) -> CacheTicket:
        """Where to mark a prompt that was cut into blocks."""
        policy = policy or CachePolicy()
        rules = self.rules(model, profile)
        self.memory.rhythm.settle(now)
        live = None
        if rules.takes_marks:
            live = self.memory.shadow.deepest(model, blocks.prefixes, now)
            told = live_by_print(earlier, model, blocks, rules, now=now)
            live = told if told is not None and (live is None or told.block > live.block) else live
        ask = Ask(model=model, rules=rules, blocks=blocks, live=live, conversation=conversation, user=user, now=now)
        return CacheTicket(
            model=model,
            rules=rules,
            blocks=blocks,
            live=live,
            conversation=conversation,
            user=user,
            now=now,
            breakpoints=self._points(ask, policy),
        )

    def observe(self, ticket: CacheTicket, usage: CacheUsage) -> None:
        """Learn from the answer to a planned prompt that its own model gave."""
        self.memory.observe(ticket, usage)

    def renew(self, ticket: CacheTicket, *, now: float) -> None:
        """A planned prompt was read once more, without anybody having asked: what it marks lives on."""
        seconds = {each.ttl: each.seconds for each in ticket.rules.lifetimes}
        for point in ticket.breakpoints:
            if point.ttl in seconds:
                self.memory.shadow.note(ticket.model, ticket.blocks.prefixes[point.block], seconds[point.ttl], now)

    def rules(self, model: str, profile: ModelProfile | None) -> CacheRules:
        """The model's rules at its prices, worked out once for each profile."""
        known = self._known_rules.get(model)
        if known is None or known[0] is not profile:
            known = self._known_rules[model] = (profile, cache_rules(model, profile))
        return known[1]

    def _points(self, ask: Ask, policy: CachePolicy) -> tuple[Breakpoint, ...]:
        blocks, rules = ask.blocks, ask.rules
        if not rules.takes_marks or policy.strategy == "off":
            return tuple(Breakpoint(block, ttl) for block, ttl in sorted(blocks.marks.items()))
        # The model's minimum is in tokens as it counts them, the setting's in our estimates.
        minimum = max(rules.min_tokens, self.memory.minimum.of(ask.model, ask.now))
        floor = max(policy.min_tokens, minimum / self.memory.length(ask.model))
        first = next((at for at, end in enumerate(blocks.ends) if end >= floor), None)
        if first is None:
            planned: list[Breakpoint] = []
        elif policy.strategy == "auto":
            planned = self._cheapest(ask, first)
        else:
            planned = _fixed(blocks, rules, policy.strategy, first)
        if blocks.unmarkable:
            planned = on_content(planned, blocks.unmarkable, first or 0)
        return with_clients_marks(planned, blocks.marks, rules) if blocks.marks else tuple(planned)

    def _cheapest(self, ask: Ask, first: int) -> list[Breakpoint]:
        rules, live = ask.rules, ask.live
        lifetimes, longest = rules.lifetimes, len(rules.lifetimes)
        live_at = live.block if live else NOWHERE
        live_state = _state_of(live, rules)
        values, ahead = self._worth.of_blocks(ask, first, live_at)
        cut = cheapest_cut(rules, ask.blocks.tokens, values, first, live_at, live_state, ahead)
        states: dict[int, int] = {}
        if cut.end > live_at:
            states[cut.end] = longest if cut.long_end == cut.end else 1
        if cut.long_end > live_at:
            states[cut.long_end] = longest
        if live is not None:
            states[live_at] = live_state
        # What is left of the marks costs nothing: ends of what others share, and where an edited question would begin.
        for at in self._spare(ask, first, cut.end):
            if len(states) >= rules.max_marks:
                break
            states.setdefault(at, longest if at <= cut.long_end else 1)
        return [Breakpoint(at, lifetimes[states[at] - 1].ttl) for at in sorted(states)]

    def _spare(self, ask: Ask, first: int, end: int) -> list[int]:
        blocks, prefixes = ask.blocks, self.memory.prefixes
        spare = []
        for at in range(min(head_of(blocks), end) - 1, first - 1, -1):
            state = prefixes.get((ask.model, blocks.prefixes[at]))
            if state is None or state.is_shared:
                spare.append(at)
        newest = blocks.places[-1][0]
        before = next((at for at in range(len(blocks) - 1, -1, -1) if blocks.places[at][0] < newest), NOWHERE)
        return [*spare, before] if first <= before < end else spare


def _state_of(live: Live | None, rules: CacheRules) -> int:
    """Which of the lifetimes, counted from 1, a prefix has; the longest where there is none."""
    longest = len(rules.lifetimes)
    return next((at for at, each in enumerate(rules.lifetimes, 1) if live and each.seconds == live.seconds), longest)


def _fixed(blocks: PromptBlocks, rules: CacheRules, strategy: CacheStrategy, first: int) -> list[Breakpoint]:
    """Marks by rule, for the shortest life: the end of the system prompt, for `conversation` also of the prompt."""
    ends = [head_of(blocks) - 1] + ([len(blocks) - 1] if strategy == "conversation" else [])
    return [Breakpoint(end, rules.lifetimes[0].ttl) for end in dict.fromkeys(ends) if end >= first]
