"""What somebody may ask of a web search: how much, and on which domains."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MOST_RESULTS = 25
"""Of one search: OpenRouter takes no more."""
MOST_SEARCHES = 10
MOST_DOMAINS = 50

ContextSize = Literal["low", "medium", "high"]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearchOptions:
    """How to search. At most one of the two lists of domains has any; a domain stands for all below it, too."""

    max_results: int = 5
    """Of one search."""
    max_searches: int = 3
    """The model decides how often it searches, if at all; no more often than this."""
    context_size: ContextSize | None = None
    """How much of what is found a model's own search reads; ``None``: what is usual for it."""
    allowed_domains: tuple[str, ...] = ()
    excluded_domains: tuple[str, ...] = ()


def as_domain(text: str) -> str | None:
    """The domain in the one way it is written on the wire; ``None`` for what is no name of a domain, such as an
    address of a page, an IP address, or a name without a dot.
    """
    try:
        name = text.strip().removesuffix(".").encode("idna").decode().lower()
    except UnicodeError:
        return None
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(_LABEL.fullmatch(each) for each in labels):
        return None
    return None if labels[-1].isdigit() else name


def in_order(domains: Iterable[str]) -> tuple[str, ...]:
    """Each once, in an order that does not depend on the caller's: prompts that ask alike begin alike."""
    return tuple(sorted(set(domains)))
