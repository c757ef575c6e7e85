"""People who use the app in tests."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2
import msgspec

from app.domain.plans import PlanTier
from app.domain.principal import Role
from tests.support.served import ServedApp

PASSWORD = "correct horse battery"


@dataclass
class Person:
    """An account that has logged in; ``http`` carries its token."""

    user_id: UUID
    email: str
    http: httpx2.AsyncClient
    tokens: dict[str, Any] = field(default_factory=dict)

    async def begin(self, **body: Any) -> str:
        """A new conversation's id."""
        answer = await self.http.post("/api/v1/conversations", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def chat(self, conversation_id: str, message: str = "What is Salah?", **body: Any) -> httpx2.Response:
        """Ask and read the whole answer."""
        return await self.http.post(
            "/api/v1/chat", json={"conversation_id": conversation_id, "message": message, **body}
        )

    async def stream(self, conversation_id: str, message: str = "What is Salah?", **body: Any) -> "list[Event]":
        """Ask with ``stream: true``; all events up to the end."""
        answer = await self.chat(conversation_id, message, stream=True, **body)
        assert answer.status_code == 200, answer.text
        return parse_events(answer.text)

    async def usage(self) -> dict[str, Any]:
        """``GET /subscriptions/usage``."""
        body: dict[str, Any] = (await self.http.get("/api/v1/subscriptions/usage")).json()
        return body


@dataclass(frozen=True)
class Event:
    """One Server-Sent Event as it stood on the wire."""

    id: int
    name: str
    data: dict[str, Any]


def parse_events(text: str) -> list[Event]:
    """The events of a whole SSE body; comments are left out."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append(Event(int(fields["id"]), fields["event"], msgspec.json.decode(fields["data"])))
    return events


async def join(app: ServedApp, *, plan: PlanTier = PlanTier.FREE, role: Role = Role.USER) -> Person:
    """Create an account on ``plan`` and log in over HTTP."""
    email = f"{uuid4().hex}@example.com"
    user = await app.services.auth.register(email=email, password=PASSWORD, role=role, plan=plan)
    http = app.client()
    answer = await http.post("/api/v1/auth/login", data={"username": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return Person(user.id, email, http, tokens)
