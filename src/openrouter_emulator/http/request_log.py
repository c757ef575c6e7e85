"""What the emulator received: a bounded log that tests and operators can read."""

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from openrouter_emulator.clock import Clock

HIDDEN_HEADERS = frozenset({"authorization", "cookie"})


@dataclass(slots=True)
class Exchange:
    """One request and what became of it; times are seconds since the epoch."""

    number: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    started_at: float
    body: bytes = b""
    status: int | None = None
    finished_at: float | None = None
    aborted_at: float | None = None
    client_disconnected: bool = False
    content_tokens_sent: int = 0
    generation_id: str | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        """The decoded body, or None when there is none or it is not JSON."""
        try:
            return msgspec.json.decode(self.body) if self.body else None
        except msgspec.DecodeError:
            return None

    def view(self) -> dict[str, Any]:
        """As the control endpoint shows it."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "body": self.json,
            "status": self.status,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "aborted_at": self.aborted_at,
            "client_disconnected": self.client_disconnected,
            "content_tokens_sent": self.content_tokens_sent,
            "generation_id": self.generation_id,
            "faults": self.faults,
        }

    def matches(self, wanted: Mapping[str, str]) -> bool:
        """Whether every wanted `session_id`, `user`, `request_id`, `generation_id` or `path` is this exchange's."""
        return all(value in self._identifiers(name) for name, value in wanted.items())

    def _identifiers(self, name: str) -> tuple[str | None, ...]:
        body = self.json if isinstance(self.json, dict) else {}
        if name == "session_id":
            return (body.get("session_id") or self.headers.get("x-session-id"),)
        if name == "request_id":
            metadata = body.get("metadata")
            inside = metadata.get("request_id") if isinstance(metadata, dict) else None
            return self.headers.get("x-request-id"), inside
        return (body.get("user"),) if name == "user" else (getattr(self, name, None),)


FILTERS = ("session_id", "user", "request_id", "generation_id", "path")


class RequestLog:
    """The newest exchanges, bounded in number and in bytes of remembered bodies."""

    def __init__(self, clock: Clock, *, size: int, max_bytes: int) -> None:
        self._clock = clock
        self._exchanges: deque[Exchange] = deque()
        self._numbers = itertools.count(1)
        self._bytes = 0
        self.resize(size=size, max_bytes=max_bytes)

    def resize(self, *, size: int, max_bytes: int) -> None:
        self._size, self._max_bytes = size, max_bytes
        self._trim()

    def open(self, *, method: str, path: str, query: str, headers: Mapping[str, str]) -> Exchange:
        shown = {name: value for name, value in headers.items() if name not in HIDDEN_HEADERS}
        exchange = Exchange(next(self._numbers), method, path, query, shown, self._clock.now())
        self._exchanges.append(exchange)
        self._trim()
        return exchange

    def remember_body(self, exchange: Exchange, body: bytes) -> None:
        if not self._exchanges or exchange.number < self._exchanges[0].number:
            return  # already forgotten
        exchange.body = body
        self._bytes += len(body)
        self._trim()

    def finish(self, exchange: Exchange) -> None:
        exchange.finished_at = self._clock.now()

    def abort(self, exchange: Exchange) -> None:
        """The client left before the answer was complete."""
        exchange.aborted_at = self._clock.now()
        exchange.client_disconnected = True

    def list_matching(self, wanted: Mapping[str, str]) -> list[Exchange]:
        """Oldest first."""
        return [exchange for exchange in self._exchanges if exchange.matches(wanted)]

    def clear(self) -> None:
        self._exchanges.clear()
        self._bytes = 0

    def _trim(self) -> None:
        while len(self._exchanges) > 1 and (len(self._exchanges) > self._size or self._bytes > self._max_bytes):
            self._bytes -= len(self._exchanges.popleft().body)
