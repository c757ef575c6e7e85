"""What can be set on the emulator: at the start on the command line, later through the control endpoint."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]


class EmulatorSettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Times are seconds, money is USD."""

    tokens_per_second: NotNegative = 60.0
    """Speed of one answer; 0 sends as fast as the client reads."""
    first_token_delay: NotNegative = 0.3
    comment_interval: Annotated[float, Meta(gt=0)] = 0.25
    """Pause between two `: OPENROUTER PROCESSING` comments while the first token is not there yet."""
    tokens_per_chunk: Annotated[int, Meta(ge=1)] = 1
    api_keys: list[str] = msgspec.field(default_factory=list)
    """Keys that are accepted; with none listed, any non-empty key is."""
    seed: int = 0
    """Another seed gives other answers and other choices among equals."""
    default_model: str = "openai/gpt-4o-mini"
    """Serves requests that name no model."""
    request_log_size: Annotated[int, Meta(ge=1)] = 2_000
    request_log_bytes: Annotated[int, Meta(ge=1)] = 64 * 1024 * 1024
    """Bodies of older requests are forgotten beyond this many bytes in total."""
    bill_size: Annotated[int, Meta(ge=1)] = 50_000
    """Generations whose record is kept; older ones still count in the total."""
    total_credits: Decimal = Decimal(1_000)
    """What the account ever bought; what the bill adds up to is spent."""
    key_limit: Decimal | None = None
    """Cap of the calling key; reaching it is a 403, unlike the 402 of an empty account."""
    free_requests_per_minute: Count = 20
    free_requests_per_day: Count = 1_000
    generation_delay: NotNegative = 1.0
    """Seconds after the end of an answer for which `GET /generation` still says 404."""
    prompt_caching: bool = True
    """Whether hosts keep prompts at all; without it the same requests show what they cost uncached."""
    load_balancing: bool = True
    """Draw hosts by inverse square of price; otherwise the catalogue's own host always comes first."""

    def updated(self, changes: dict[str, Any]) -> "EmulatorSettings":
        """A copy with `changes` applied; a wrong name or value raises `msgspec.ValidationError`."""
        return msgspec.convert(msgspec.to_builtins(self) | changes, EmulatorSettings)
