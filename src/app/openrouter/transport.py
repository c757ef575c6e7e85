"""One pooled HTTP client: opens calls, closes them, and gives their failures a meaning."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from app.openrouter.errors import ConnectionFailed, OpenRouterError, UpstreamTimeout
from app.openrouter.response_body import ResponseBody
from app.openrouter.timeouts import StreamClock, Timeouts

_LARGE_BODY = 1 << 20
"""Above this aiohttp wants something it can send in pieces."""


class Transport:
    """Opens its pool on the first call, in the loop that runs then. The key stands in the headers only."""

    def __init__(self, *, base_url: str, api_key: str, headers: Mapping[str, str], timeouts: Timeouts) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._headers = {**headers, "Authorization": f"Bearer {api_key}"}
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"Transport(base_url={self._base_url!r})"

    @asynccontextmanager
    async def call(
        self,
        method: str,
        path: str,
        clock: StreamClock,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[ResponseBody]:
        """A response whose headers have come. Leaving the block ends the call, read to its end or not."""
        try:
            response = ResponseBody(await self._open(method, path, clock, body, headers, params), clock)
            try:
                yield response
            finally:
                response.leave()
        except OpenRouterError as error:
            error.conceal(self._api_key)
            raise

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(
        self,
        method: str,
        path: str,
        clock: StreamClock,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        params: Mapping[str, str] | None,
    ) -> aiohttp.ClientResponse:
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body
        url = self._base_url + path
        try:
            async with asyncio.timeout_at(clock.deadline):
                # A redirect would carry the key to another host.
                return await self._pool().request(
                    method, url, data=data, headers=headers, params=params, allow_redirects=False
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise UpstreamTimeout("OpenRouter could not be reached in time.", phase="connect") from error
        except TimeoutError as error:
            raise clock.ran_out() from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionFailed("The connection to OpenRouter failed.") from error

    def _pool(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                # How many answers run is decided before they are asked for: here one would wait, and fail, unseen.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=None, connect=self._timeouts.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
