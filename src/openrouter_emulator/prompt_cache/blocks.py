"""A prompt as a row of blocks: tools, then system, then messages, each with a rolling hash of all before it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openrouter_emulator.answers.web_search import searches_web
from openrouter_emulator.chat.prompt import PER_MESSAGE
from openrouter_emulator.chat.request import ChatRequest, Message
from openrouter_emulator.http.wire import encode
from openrouter_emulator.inputs.parts import count_part_tokens
from openrouter_emulator.tokens import count_tokens

MARKERS = ("cache_control", "prompt_cache_breakpoint")


@dataclass(frozen=True, slots=True)
class Block:
    """`prefix` identifies everything up to and including this block; `tokens` counts the same."""

    prefix: str
    tokens: int
    marker: dict[str, Any] | None


def read_blocks(request: ChatRequest, *, options_matter: bool = False) -> list[Block]:
    """Markers are read and left out of the hash; the last block carries the automatic marker, if asked for.

    `options_matter`: what is switched for system and messages is part of the hash of their blocks.
    """
    digest, total, blocks = hashlib.sha256(), 0, []
    switches = _switches(request) if options_matter else {}
    for section, content, tokens, marker in _contents(request):
        digest.update(switches.pop(section, b""))
        digest.update(content)
        total += tokens
        blocks.append(Block(digest.hexdigest(), total, marker))
    if blocks and request.cache_control and blocks[-1].marker is None:
        last = blocks[-1]
        blocks[-1] = Block(last.prefix, last.tokens, request.cache_control)
    return blocks


def _switches(request: ChatRequest) -> dict[str, bytes]:
    """By section: the options that its cached blocks depend on."""
    pictures = any(part.get("type") == "image_url" for message in request.messages for part in message.parts)
    return {
        "system": encode(searches_web(request) is not None),
        "messages": encode([request.tool_choice, request.reasoning, request.reasoning_effort, pictures]),
    }


def _contents(request: ChatRequest) -> Iterator[tuple[str, bytes, int, dict[str, Any] | None]]:
    """Section, content, tokens and marker of each block."""
    for tool in request.tools or ():
        content = encode(_unmarked(tool))
        yield "tools", b"tool\x00" + content, count_tokens(content.decode()), _marker(tool)
    for message in request.messages:
        if message.role in ("system", "developer"):
            yield from (("system", *block) for block in _message_contents(message))
    for message in request.messages:
        if message.role not in ("system", "developer"):
            yield from (("messages", *block) for block in _message_contents(message))


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
