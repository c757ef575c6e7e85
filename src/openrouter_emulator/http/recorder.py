"""ASGI middleware that writes every API request into the log."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openrouter_emulator.http.request_log import Exchange, RequestLog

CONTROL_PREFIX = "/__emulator__"


class RequestRecorder:
    """Opens an exchange per request and notes its body, status, end, and whether the client left early."""

    def __init__(self, app: ASGIApp, log: RequestLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PREFIX):
            await self._app(scope, receive, send)
            return
        exchange = self._log.open(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=Headers(scope=scope),
        )
        scope["exchange"] = exchange
        scope["transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        listener = _Listener(self._log, exchange, receive, send)
        await self._app(scope, listener.receive, listener.send)


class _Listener:
    def __init__(self, log: RequestLog, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._log, self._exchange = log, exchange
        self._receive, self._send = receive, send
        self._body = bytearray()
        self._complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                self._log.remember_body(self._exchange, bytes(self._body))
        elif message["type"] == "http.disconnect" and not self._complete:
            self._log.abort(self._exchange)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._exchange.status = message["status"]
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._complete = True
            self._log.finish(self._exchange)
        await self._send(message)
