"""People who read answers over connections that break, and the books behind them."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2
from sqlalchemy import select

from app.db.models import Message, QuotaLease, UsageEvent
from app.domain.plans import PlanTier
from app.services.assembly import Services
from tests.support.accounts import PASSWORD, Event, parse_events
from tests.support.served import NO_CERTIFICATES

MODEL = "openai/gpt-4o"
"""Its hosts stop billing whom they lose, so that a bill and a ledger can be compared to the last digit."""
LAST_EVENTS = {"message.completed", "message.stopped", "message.interrupted", "message.failed"}


@dataclass(eq=False)
class Reader:
    """Reads one answer over as many connections as it takes; keeps whole events as they stood on the wire."""

    http: httpx2.AsyncClient
    frames: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> list[Event]:
        return parse_events("\n\n".join(each.decode() for each in self.frames))

    @property
    def last(self) -> Event:
        return parse_events(self.frames[-1].decode())[0]

    @property
    def message_id(self) -> str:
        return str(parse_events(self.frames[0].decode())[0].data["message_id"])

    @property
    def is_over(self) -> bool:
        return bool(self.frames) and self.last.name in LAST_EVENTS

    @property
    def text(self) -> str:
        return "".join(each.data["text"] for each in self.events if each.name == "content.delta")

    async def ask(self, url: str, conversation_id: str, *, events: int | None = None, **headers: str) -> None:
        """Ask, and read so many events; all of them without a number."""
        body = {"conversation_id": conversation_id, "message": "What is Salah?", "stream": True}
        body |= {"model": MODEL, "fallback_models": []}
        await self._read(self.http.build_request("POST", f"{url}/api/v1/chat", json=body, headers=headers), events)

    async def read_on(self, url: str, *, events: int | None = None, message_id: str | None = None) -> None:
        """Read so many more events behind the last one there is, then hang up."""
        headers = {"Last-Event-ID": str(self.last.id)} if self.frames else {}
        path = f"{url}/api/v1/chat/messages/{message_id or self.message_id}/stream"
        await self._read(self.http.build_request("GET", path, headers=headers), events)

    async def _read(self, request: httpx2.Request, events: int | None) -> None:
        answer = await self.http.send(request, stream=True)
        try:
            if answer.status_code == 204:
                return
            assert answer.status_code == 200, await answer.aread()
            begun, before = b"", len(self.frames)
            async for piece in answer.aiter_raw():
                *whole, begun = (begun + piece).split(b"\n\n")
                self.frames += [each for each in whole if not each.startswith(b":")]
                if events is not None and len(self.frames) - before >= events:
                    del self.frames[before + events :]  # lost with the connection
                    return
        finally:
            await answer.aclose()

    async def until(self, events: int) -> None:
        """Wait until so many have come over a connection that is being read."""
        while len(self.frames) < events:
            assert not self.is_over, f"the answer was over after {len(self.frames)} events"
            await asyncio.sleep(0.01)


@dataclass
class Account:
    """An account on the Unlimited plan, and what the database says of it."""

    services: Services
    user_id: UUID
    http: httpx2.AsyncClient

    def reader(self) -> Reader:
        return Reader(self.http)

    async def begin(self) -> str:
        return str((await self.services.conversations.create(self.user_id)).id)

    async def rows(self, table: Any) -> list[Any]:
        async with self.services.database.read_only() as uow:
            return list(await uow._session.scalars(select(table).where(table.user_id == self.user_id)))

    async def answers(self) -> dict[str, Message]:
        """Those of the account by id, as they are stored."""
        return {str(each.id): each for each in await self.rows(Message) if each.role == "assistant"}

    async def ledger(self) -> list[UsageEvent]:
        return await self.rows(UsageEvent)

    async def held(self) -> int:
        """How many leases are not ended."""
        return sum(each.state == "held" for each in await self.rows(QuotaLease))


async def open_account(services: Services) -> Account:
    """A new account with a client that carries its token; close ``http`` afterwards."""
    email = f"{uuid4().hex}@example.com"
    user = await services.auth.register(email=email, password=PASSWORD, plan=PlanTier.UNLIMITED)
    token = (await services.auth.login(email=email, password=PASSWORD)).access_token
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {token}"}
    return Account(
        services, user.id, httpx2.AsyncClient(headers=headers, timeout=60, limits=limits, verify=NO_CERTIFICATES)
    )


async def ask_many(account: Account, url: str, count: int, *, events: int) -> dict[Reader, asyncio.Task[None]]:
    """So many answers that run, each read by somebody who has so many events; the tasks read on to the end."""
    at_once = asyncio.Semaphore(8)

    async def begin() -> tuple[Reader, asyncio.Task[None]]:
        async with at_once:
            reader = account.reader()
            reading = asyncio.create_task(reader.ask(url, await account.begin()))
            while len(reader.frames) < events and not reading.done():  # noqa: ASYNC110  (as above)
                await asyncio.sleep(0.01)
            return reader, reading

    return dict(await asyncio.gather(*(begin() for _ in range(count))))
