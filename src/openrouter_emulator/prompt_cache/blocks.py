"""A prompt as a row of blocks: tools, then system, then messages, each with a rolling hash of all before it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openrouter_emulator.chat.prompt import PER_MESSAGE, count_part_tokens
from openrouter_emulator.chat.request import ChatRequest, Message
from openrouter_emulator.http.wire import encode
from openrouter_emulator.tokens import count_tokens

MARKERS = ("cache_control", "prompt_cache_breakpoint")


@dataclass(frozen=True, slots=True)
class Block:
    """`prefix` identifies everything up to and including this block; `tokens` counts the same."""

    prefix: str
    tokens: int
    marker: dict[str, Any] | None


def read_blocks(request: ChatRequest) -> list[Block]:
    """Markers are read and left out of the hash; the last block carries the automatic marker, if asked for."""
    digest, total, blocks = hashlib.sha256(), 0, []
    for content, tokens, marker in _contents(request):
        digest.update(content)
        total += tokens
        blocks.append(Block(digest.hexdigest(), total, marker))
    if blocks and request.cache_control and blocks[-1].marker is None:
        last = blocks[-1]
        blocks[-1] = Block(last.prefix, last.tokens, request.cache_control)
    return blocks


def _contents(request: ChatRequest) -> Iterator[tuple[bytes, int, dict[str, Any] | None]]:
    for tool in request.tools or ():
        content = encode(_unmarked(tool))
        yield b"tool\x00" + content, count_tokens(content.decode()), _marker(tool)
    system = [message for message in request.messages if message.role in ("system", "developer")]
    others = [message for message in request.messages if message.role not in ("system", "developer")]
    for message in (*system, *others):
        yield from _message_contents(message)


def _message_contents(message: Message) -> Iterator[tuple[bytes, int, dict[str, Any] | None]]:
    """One block a part; the first bears the framing of its message."""
    calls = encode(message.tool_calls) if message.tool_calls else b""
    parts = message.parts or [{"type": "text", "text": ""}]
    for index, part in enumerate(parts):
        head = f"{message.role}\x00{message.tool_call_id or ''}\x00".encode() + calls if index == 0 else b""
        framing = PER_MESSAGE + (count_tokens(calls.decode()) if calls else 0) if index == 0 else 0
        yield head + encode(_unmarked(part)), framing + count_part_tokens(part), _marker(part)


def _unmarked(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in MARKERS}


def _marker(part: dict[str, Any]) -> dict[str, Any] | None:
    return next((part[name] for name in MARKERS if isinstance(part.get(name), dict)), None)
