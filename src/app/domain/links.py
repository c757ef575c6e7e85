"""Files that lie elsewhere and are named by their address: the model's host fetches them, this server never does."""

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

LinkKind = Literal["image", "pdf"]
MOST_LINKS = 10
"""Beside one question."""
MOST_NAME_CHARS = 120


@dataclass(frozen=True, slots=True)
class Link:
    """One such file."""

    kind: LinkKind
    url: str

    @property
    def name(self) -> str:
        """What it is called: the end of its path, else its host."""
        parts = urlsplit(self.url)
        last = unquote(parts.path.rstrip("/").rpartition("/")[2])
        printable = "".join(each for each in last if each.isprintable() and each not in '"[]<>')
        return (printable or parts.hostname or "file")[:MOST_NAME_CHARS]

    def as_row(self) -> dict[str, str]:
        """As a message keeps it."""
        return {"kind": self.kind, "url": self.url}


def read_link(row: dict[str, Any]) -> Link:
    """A link that a message kept."""
    return Link(row["kind"], row["url"])
