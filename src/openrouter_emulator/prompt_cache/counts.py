"""How many prompt tokens came from a cache or went into one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """Parts of the prompt's tokens; `written_1h` are those written to live an hour, apart from `written`."""

    cached: int = 0
    written: int = 0
    written_1h: int = 0
