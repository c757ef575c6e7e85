"""A prompt as a row of blocks: tools, then system, then messages, each with the identity of all before it."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.openrouter.media import raw_tokens
from app.openrouter.tokens import TOKENS_PER_MESSAGE, estimate_tokens
from app.openrouter.web_search import is_server_tool

Kind = Literal["tools", "search", "system", "rag", "history", "user", "volatile"]
"""What a block is: `search` is a tool that OpenRouter runs, asked for with one question and not with the next; `rag`
are documents given to answer from, `user` the newest turn, `history` what was said before. `volatile` will surely not
be there in the next prompt: it stands at the end, and no mark stands on it."""

Place = tuple[int, int]
"""Message and part; tools have message -1."""

_PRIME = (1 << 61) - 1
_STEP = 0x1D2F_8A6E_4C3B_59D7 % _PRIME
_REMEMBERED_TEXTS = 50_000
_ROLES = {"system": 2, "developer": 3, "user": 4, "assistant": 5, "tool": 6}
_WHOLE: tuple[dict[str, Any], ...] = ({},)
"""Stands for the one part of a message whose content is plain text: vendors hash it like a part of its own."""
SYSTEM_ROLES = ("system", "developer")
Wire = Mapping[str, Any]


@dataclass(slots=True)
class PromptBlocks:
    """One entry a block in each list."""

    kinds: list[Kind] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Tokens up to and including the block."""
    prefixes: list[int] = field(default_factory=list)
    """Identity of everything up to and including the block: the same in every process."""
    marks: dict[int, str] = field(default_factory=dict)
    """By block: the lifetime of a mark that the client set."""
    unmarkable: set[int] = field(default_factory=set)
    """Blocks that bear no mark: vendors refuse one on nothing, OpenRouter reads none on tools of its own, and what is
    volatile is not worth one."""
    turns: int = 0
    """How many messages of the person are in it."""

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, identity: int, count: int, kind: Kind, role: str, place: Place, mark: Any) -> None:
        """One block more at the end."""
        before, total = (self.prefixes[-1], self.ends[-1]) if self.ends else (0, 0)
        if role == "user" and not (total and self.places[-1][0] == place[0]):
            self.turns += 1
        if mark is not None:
            self.marks[len(self.tokens)] = _ttl_of(mark)
        self.kinds.append(kind)
        self.roles.append(role)
        self.places.append(place)
        self.tokens.append(count)
        self.ends.append(count + total)
        self.prefixes.append((before * _STEP + identity + 1) % _PRIME)


class BlockReader:
    """Cuts prompts into blocks. Remembers hashes and token counts of texts, not the texts."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, int]] = {}

    def read(
        self,
        messages: Sequence[Wire],
        *,
        tools: Sequence[Wire] = (),
        kinds: Sequence[Sequence[Kind]] | None = None,
        tokens: Sequence[Sequence[int]] | None = None,
        tools_tokens: int | None = None,
    ) -> PromptBlocks:
        """`kinds` and `tokens`: by message and part, where the caller knows them better than their looks tell."""
        blocks = PromptBlocks()
        for index, tool in enumerate(tools):
            identity, estimate = self._measure(_canonical(tool))
            count = estimate if tools_tokens is None else tools_tokens // len(tools)
            kind: Kind = "search" if is_server_tool(tool) else "tools"
            if kind == "search":
                blocks.unmarkable.add(len(blocks))
            blocks.add(identity, count, kind, kind, (-1, index), tool.get("cache_control"))
        newest = _newest_question(messages)
        for at in _system_first(messages):
            message = messages[at]
            role, content = message["role"], message.get("content")
            usual: Kind = "system" if role in SYSTEM_ROLES else "user" if at == newest else "history"
            head, framing = _ROLES.get(role, 1), TOKENS_PER_MESSAGE
            if "tool_calls" in message or "tool_call_id" in message:
                calls, count = self._measure(_canonical([message.get("tool_calls"), message.get("tool_call_id")]))
                head, framing = head + calls, framing + count
            parts = _WHOLE if isinstance(content, str) or not content else content
            for number, part in enumerate(parts):
                said = (content or "") if parts is _WHOLE else part.get("text")
                identity, estimate = self._measure_part(part, said)
                kind = usual if kinds is None else kinds[at][number]
                if said == "" or kind == "volatile":
                    blocks.unmarkable.add(len(blocks))
                blocks.add(
                    identity + head,
                    estimate + framing if tokens is None else tokens[at][number],
                    kind,
                    role,
                    (at, number),
                    part.get("cache_control"),
                )
                head = framing = 0
        return blocks

    def _measure_part(self, part: Wire, said: str | None) -> tuple[int, int]:
        media = part.get("media")
        if media is None:
            identity, estimate = self._measure(_canonical(part) if said is None else said)
            return identity, raw_tokens(part) or estimate
        return self._measure(media.identity)[0], media.tokens

    def _measure(self, content: str) -> tuple[int, int]:
        """Identity and estimated tokens of a text."""
        key = (hash(content), len(content))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED_TEXTS:
                self._known.clear()
            digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            known = self._known[key] = (int.from_bytes(digest, "big"), estimate_tokens(content))
        return known


def _system_first(messages: Sequence[Wire]) -> Iterable[int]:
    """The order in which vendors hash: system messages come first, wherever they stand."""
    is_system = [message["role"] in SYSTEM_ROLES for message in messages]
    if not any(is_system[1:]):
        return range(len(messages))
    return sorted(range(len(messages)), key=lambda at: not is_system[at])


def _newest_question(messages: Sequence[Mapping[str, Any]]) -> int:
    return next((at for at in range(len(messages) - 1, -1, -1) if messages[at]["role"] == "user"), -1)


def _canonical(value: Any) -> str:
    if isinstance(value, Mapping) and "cache_control" in value:
        value = {name: each for name, each in value.items() if name != "cache_control"}
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _ttl_of(mark: Any) -> str:
    return (mark.get("ttl") if isinstance(mark, Mapping) else None) or "5m"
