"""Ids that OpenRouter no longer serves, and the living models that take their place, the nearest first."""

from collections.abc import Mapping

RETIRED: Mapping[str, tuple[str, ...]] = {
    "anthropic/claude-3-haiku": ("anthropic/claude-haiku-4.5", "anthropic/claude-haiku-5.5"),
    "anthropic/claude-3.5-haiku": ("anthropic/claude-haiku-4.5", "anthropic/claude-haiku-5.5"),
    "anthropic/claude-3-sonnet": ("anthropic/claude-sonnet-5.5", "anthropic/claude-sonnet-4.6"),
    "anthropic/claude-3.5-sonnet": ("anthropic/claude-sonnet-5.5", "anthropic/claude-sonnet-4.6"),
    "anthropic/claude-3.7-sonnet": ("anthropic/claude-sonnet-5.5", "anthropic/claude-sonnet-4.6"),
    "anthropic/claude-sonnet-4": ("anthropic/claude-sonnet-5.5", "anthropic/claude-sonnet-4.6"),
    "anthropic/claude-3-opus": ("anthropic/claude-opus-5.5", "anthropic/claude-opus-4.8"),
    "anthropic/claude-opus-4": ("anthropic/claude-opus-5.5", "anthropic/claude-opus-4.8"),
    "google/gemini-2.5-flash-image-preview": ("google/gemini-2.5-flash-image", "google/gemini-3.1-flash-image"),
    "openai/dall-e-3": ("openai/gpt-5-image", "openai/gpt-image-2"),
    "openai/dall-e-2": ("openai/gpt-5-image-mini", "openai/gpt-image-1-mini"),
    "black-forest-labs/flux-pro": ("black-forest-labs/flux.2-pro",),
    "black-forest-labs/flux-1.1-pro": ("black-forest-labs/flux.2-pro",),
    "black-forest-labs/flux-schnell": ("black-forest-labs/flux.2-klein-4b",),
    "black-forest-labs/flux-dev": ("black-forest-labs/flux.2-klein-4b",),
}

ROUTING_SUFFIXES = frozenset({"nitro", "floor", "exacto", "online"})
"""They choose among a model's hosts, or add a search; the model stays the same."""

SUPERSEDED_SUFFIXES = frozenset({"thinking", "extended", "beta"})
"""What they asked for is a request field now; the bare model is called."""
