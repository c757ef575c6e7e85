"""A server that answers with exactly the bytes a test wants, when it wants them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Exchange:
    """One request, and the means to answer it."""

    head: str
    body: bytes
    writer: asyncio.StreamWriter
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed the connection."""

    @property
    def headers(self) -> dict[str, str]:
        lines = (line.split(": ", 1) for line in self.head.split("\r\n")[1:] if line)
        return {name.lower(): value for name, value in lines}

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def stream(self, *pieces: bytes, end: bool = True) -> None:
        await self.send(HEAD)
        for piece in pieces:
            await self.send_chunk(piece)
        if end:
            await self.send(b"0\r\n\r\n")

    async def answer(self, status: int, body: bytes, *headers: str, content_type: str = "application/json") -> None:
        lines = (f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers)
        await self.send("\r\n".join((*lines, "", "")).encode() + body)


Script = Callable[[Exchange], Awaitable[None]]


class ScriptedServer:
    """Runs `script` for each request and remembers them all."""

    def __init__(self, script: Script) -> None:
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.url = ""
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return False
        exchange = Exchange(head, b"", writer)
        exchange.body = await reader.readexactly(int(exchange.headers.get("content-length", 0)))
        self.exchanges.append(exchange)
        script = asyncio.ensure_future(self._script(exchange))
        more = asyncio.ensure_future(reader.read(1))  # the client sends no more unless it leaves
        await asyncio.wait({script, more}, return_when=asyncio.FIRST_COMPLETED)
        if more.done():
            exchange.left.set()
            script.cancel()
        else:
            more.cancel()
        await asyncio.gather(script, more, return_exceptions=True)
        return not writer.is_closing() and not exchange.left.is_set()


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer(script)
    server = await asyncio.start_server(scripted.handle, "127.0.0.1", 0, backlog=2_000)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"
    try:
        yield scripted
    finally:
        server.close()
