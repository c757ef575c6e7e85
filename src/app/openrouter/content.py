"""What of a conversation may be sent to which family of models."""

from collections.abc import Mapping, Sequence
from typing import Any

_FAMILY_OF_FORMAT: Mapping[str, str] = {
    "anthropic-claude-v1": "anthropic",
    "openai-responses-v1": "openai",
    "azure-openai-responses-v1": "openai",
    "bedrock-openai-responses-v1": "openai",
    "xai-responses-v1": "x-ai",
    "bedrock-xai-responses-v1": "x-ai",
    "google-gemini-v1": "google",
    "meta-responses-v1": "meta-llama",
}
"""Whose signatures and ciphers a block of reasoning carries. Others can make nothing of them, and refuse them."""


def without_foreign_reasoning(
    messages: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> Sequence[Mapping[str, Any]]:
    """The messages with only such reasoning blocks as every one of `models` can take back; the rest unchanged.

    A model's own blocks stay as they are, in their order, the empty list too: some hosts ask for it.
    """
    families = {family(model) for model in models}
    if not any(message.get("reasoning_details") for message in messages):
        return messages
    return [_for_families(message, families) for message in messages]


def family(model_id: str) -> str:
    """The vendor: what the part before the slash names."""
    vendor = model_id.removeprefix("~").partition("/")[0]
    return "meta-llama" if vendor == "meta" else vendor


def _for_families(message: Mapping[str, Any], families: set[str]) -> Mapping[str, Any]:
    details = message.get("reasoning_details")
    if not isinstance(details, list) or not details:
        return message
    kept = [detail for detail in details if _may_go(detail, families)]
    if len(kept) == len(details):
        return message
    rest = {key: value for key, value in message.items() if key != "reasoning_details"}
    return rest | {"reasoning_details": kept} if kept else rest


def _may_go(detail: Any, families: set[str]) -> bool:
    if not isinstance(detail, dict):
        return False
    owner = _FAMILY_OF_FORMAT.get(str(detail.get("format")))
    if owner is not None:
        return families == {owner}
    # Of unknown make: plain words harm nobody, what is signed or encrypted binds to a host that we cannot name.
    return not (detail.get("signature") or detail.get("data"))
