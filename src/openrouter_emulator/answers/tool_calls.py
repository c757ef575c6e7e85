"""Calls of the caller's own functions, with arguments that fit their parameters."""

import random
from typing import Any

from openrouter_emulator.answers.json_schema import SchemaWriter
from openrouter_emulator.chat.request import ChatRequest
from openrouter_emulator.http.wire import encode

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def write_tool_calls(request: ChatRequest, question: str, chance: random.Random) -> tuple[dict[str, Any], ...]:
    """One call when `tool_choice` demands it or the question names the function; none after a tool has answered."""
    functions = [tool["function"] for tool in request.tools or () if tool.get("type") == "function"]
    if not functions or request.messages[-1].role == "tool" or request.tool_choice == "none":
        return ()
    named = [function for function in functions if str(function.get("name")) in question]
    if isinstance(request.tool_choice, dict):
        wanted = request.tool_choice.get("function", {}).get("name")
        named = [function for function in functions if function.get("name") == wanted]
    elif request.tool_choice == "required":
        named = named or functions[:1]
    return tuple(_call(function, chance) for function in named)


def _call(function: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    arguments = SchemaWriter(function.get("parameters") or {"type": "object"}, chance).write()
    return {
        "id": "call_" + "".join(chance.choice(_DIGITS) for _ in range(24)),
        "type": "function",
        "function": {"name": function["name"], "arguments": encode(arguments).decode()},
    }
