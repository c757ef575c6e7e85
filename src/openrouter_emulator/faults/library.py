"""All faults: importing this module fills the table."""

from openrouter_emulator.faults import (
    answers,
    bodies,
    breaks,
    envelopes,
    noise,
    refusals,
    shapes,
    stalls,
    tools,
    transport,
    upstream,
    usage,
)
from openrouter_emulator.faults.fault import FAULTS

__all__ = ["FAULTS", "MODULES"]
MODULES = (answers, bodies, breaks, envelopes, noise, refusals, shapes, stalls, tools, transport, upstream, usage)
