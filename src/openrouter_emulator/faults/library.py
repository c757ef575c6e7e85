"""All faults: importing this module fills the table."""

from openrouter_emulator.faults import answers, envelopes, refusals, shapes, streams, tools, transport, upstream, usage
from openrouter_emulator.faults.fault import FAULTS

__all__ = ["FAULTS", "MODULES"]
MODULES = (answers, envelopes, refusals, shapes, streams, tools, transport, upstream, usage)
