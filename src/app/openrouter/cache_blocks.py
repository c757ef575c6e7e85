"""A prompt as a row of blocks: tools, then system, then messages, each with the identity of all before it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.openrouter.tokens import TOKENS_PER_MESSAGE, estimate_tokens

Kind = Literal["tools", "system", "rag", "history", "user"]
"""What a block is: `rag` are documents given to answer from, `user` the newest turn, `history` what was said before."""

Place = tuple[int, int]
"""Message and part; tools have message -1."""

_PRIME = (1 << 61) - 1
_STEP = 0x1D2F_8A6E_4C3B_59D7 % _PRIME
_REMEMBERED_TEXTS = 50_000


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

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def turns(self) -> int:
        """How many messages of the person are in it."""
        last, count = None, 0
        for role, (message, _) in zip(self.roles, self.places, strict=True):
            if role == "user" and message != last:
                count += 1
                last = message
        return count


class BlockReader:
    """Cuts prompts into blocks. Remembers hashes and token counts of texts, not the texts."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, int]] = {}

    def read(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        kinds: Sequence[Sequence[Kind]] | None = None,
        tokens: Sequence[Sequence[int]] | None = None,
        tools_tokens: int | None = None,
    ) -> PromptBlocks:
        """`kinds` and `tokens`: by message and part, where the caller knows them better than their looks tell."""
        blocks = PromptBlocks()
        prefix = total = 0
        newest = _newest_question(messages)

        def add(content: str, kind: Kind, role: str, place: Place, count: int | None, framing: int, mark: Any) -> None:
            nonlocal prefix, total
            identity, estimate = self._measure(content)
            length = estimate + framing if count is None else count
            prefix = (prefix * _STEP + identity + 1) % _PRIME
            total += length
            if mark is not None:
                blocks.marks[len(blocks.tokens)] = _ttl_of(mark)
            blocks.kinds.append(kind)
            blocks.roles.append(role)
            blocks.places.append(place)
            blocks.tokens.append(length)
            blocks.ends.append(total)
            blocks.prefixes.append(prefix)

        for index, tool in enumerate(tools):
            share = None if tools_tokens is None else tools_tokens // len(tools)
            add(_canonical(tool), "tools", "tools", (-1, index), share, 0, tool.get("cache_control"))
        # System messages come first in what the vendor hashes, wherever they stand.
        order = sorted(range(len(messages)), key=lambda at: messages[at]["role"] not in ("system", "developer"))
        for at in order:
            message = messages[at]
            role, content = message["role"], message.get("content")
            framing = TOKENS_PER_MESSAGE
            calls = message.get("tool_calls")
            head = role + (_canonical(calls) if calls else "") + (message.get("tool_call_id") or "") + "\0"
            kind: Kind = (
                "system"
                if role in ("system", "developer")
                else "user"
                if at == newest and role == "user"
                else "history"
            )
            if isinstance(content, str) or not content:
                count = tokens[at][0] if tokens else None
                add(head + (content or ""), kinds[at][0] if kinds else kind, role, (at, 0), count, framing, None)
                continue
            for number, part in enumerate(content):
                text = part.get("text")
                said = text if text is not None else _canonical(part)
                count = tokens[at][number] if tokens else None
                own = kinds[at][number] if kinds else kind
                add(head + said, own, role, (at, number), count, framing, part.get("cache_control"))
                head, framing = "", 0
        return blocks

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


def _newest_question(messages: Sequence[Mapping[str, Any]]) -> int:
    return next((at for at in range(len(messages) - 1, -1, -1) if messages[at]["role"] == "user"), -1)


def _canonical(value: Any) -> str:
    if isinstance(value, Mapping) and "cache_control" in value:
        value = {name: each for name, each in value.items() if name != "cache_control"}
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _ttl_of(mark: Any) -> str:
    return (mark.get("ttl") if isinstance(mark, Mapping) else None) or "5m"
