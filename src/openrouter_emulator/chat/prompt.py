"""How many tokens a request's prompt has."""

from openrouter_emulator.chat.request import ChatRequest, Message
from openrouter_emulator.http.wire import encode
from openrouter_emulator.inputs.parts import count_part_tokens
from openrouter_emulator.tokens import count_tokens

PER_MESSAGE = 4


def count_prompt_tokens(request: ChatRequest) -> int:
    """Messages with their framing, tools, and media by their size."""
    tools = sum(count_tokens(encode(tool).decode()) for tool in request.tools or ())
    return tools + sum(count_message_tokens(message) for message in request.messages)


def count_message_tokens(message: Message) -> int:
    calls = count_tokens(encode(message.tool_calls).decode()) if message.tool_calls else 0
    return PER_MESSAGE + calls + sum(count_part_tokens(part) for part in message.parts)
