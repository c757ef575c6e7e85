"""An answered prompt as one process tells it to the others: hashes and counts, never text."""

import msgspec

from app.openrouter.cache_blocks import PromptBlocks
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_memory import CacheTicket, CacheUsage
from app.openrouter.cache_rules import CacheRules
from app.openrouter.cache_shadow import Live

MOST_BLOCKS = 400
"""Longer prompts are not told: they are rare, and a kilobyte for every thirty blocks."""


class Sighting(msgspec.Struct, frozen=True, array_like=True):
    """What `CachePlanner.observe` needs, and who tells it: `number` counts what `sender` told, from 1."""

    sender: str
    number: int
    model: str
    now: float
    conversation: str | None
    user: str | None
    blocks: PromptBlocks
    breakpoints: tuple[Breakpoint, ...]
    live: Live | None
    usage: CacheUsage

    def ticket(self, rules: CacheRules) -> CacheTicket:
        """The planned prompt, under the rules of its model."""
        return CacheTicket(
            model=self.model,
            rules=rules,
            blocks=self.blocks,
            live=self.live,
            conversation=self.conversation,
            user=self.user,
            now=self.now,
            breakpoints=self.breakpoints,
        )


def encode_sighting(sender: str, number: int, ticket: CacheTicket, usage: CacheUsage) -> bytes | None:
    """For the others; None for a prompt too long to be told."""
    if len(ticket.blocks) > MOST_BLOCKS:
        return None
    return _encoder.encode(
        Sighting(
            sender=sender,
            number=number,
            model=ticket.model,
            now=ticket.now,
            conversation=ticket.conversation,
            user=ticket.user,
            blocks=ticket.blocks,
            breakpoints=ticket.breakpoints,
            live=ticket.live,
            usage=usage,
        )
    )


def decode_sighting(told: bytes) -> Sighting | None:
    """None for what another version told in another form."""
    try:
        return _decoder.decode(told)
    except msgspec.MsgspecError:
        return None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Sighting)
