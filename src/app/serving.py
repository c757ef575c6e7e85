"""Stops in order: not ready any more, then running answers end, and only then does the door close."""

import gc
import socket
import sys
from contextlib import suppress

import uvicorn

from app.core.config import get_settings
from app.services.generation_hub import generation_hub
from app.services.image_generation_service import image_generation_service

CLOSING_SECONDS = 3
"""For connections that stay open although nothing is left to tell."""

GC_THRESHOLDS = (50_000, 20, 50)
"""Turns make few cycles, and many objects that live for as long as the turn."""


MOST_OPEN_FILES = 65_536


class OrderlyServer(uvicorn.Server):
    """uvicorn, which by itself stops to listen first: nobody could be told any more that the server is stopping."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; then spare the garbage collector what was made for good: it took a twelfth of a turn."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new questions; let running answers finish within the grace time or be handed over; then close."""
        grace_seconds = get_settings().shutdown_grace_seconds
        pictures = image_generation_service.begin_draining(grace_seconds)
        await generation_hub.begin_draining(grace_seconds)
        await pictures
        await super().shutdown(sockets)


def allow_open_files() -> None:
    """Let this process open as many files as the system lets it: each running answer is two connections.

    Many systems begin with 1,024, or with 256, which is for programs that can count no further; more is there for the
    asking.
    """
    if sys.platform == "win32":
        return
    import resource  # that system has none

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft < wanted:
        with suppress(ValueError, OSError):  # some systems have a smaller limit than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def make_server(*, host: str = "127.0.0.1", port: int = 8000) -> OrderlyServer:
    """A server of the app. The app is named, not imported: it reads its settings when the server loads it."""
    allow_open_files()
    config = uvicorn.Config(
        "app.main:app", host=host, port=port, log_config=None, timeout_graceful_shutdown=CLOSING_SECONDS
    )
    return OrderlyServer(config)
