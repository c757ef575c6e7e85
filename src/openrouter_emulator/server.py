"""Runs the emulator under uvicorn: announces itself once, and stops at once."""

import os
import socket
import sys

import uvicorn
from starlette.applications import Starlette

from openrouter_emulator.application import API_PREFIX

PARENT_CHECK_TICKS = 5
"""The server ticks ten times a second."""


class EmulatorServer(uvicorn.Server):
    """Prints one line when it listens; may follow its parent process into the grave."""

    def __init__(self, config: uvicorn.Config, *, url: str, exit_with_parent: bool) -> None:
        super().__init__(config)
        self._url = url
        self._parent = os.getppid() if exit_with_parent else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"openrouter emulator listening on {self._url}", flush=True)

    async def on_tick(self, counter: int) -> bool:
        orphaned = self._parent is not None and counter % PARENT_CHECK_TICKS == 0 and os.getppid() != self._parent
        return orphaned or await super().on_tick(counter)


def serve(app: Starlette, *, host: str, port: int, exit_with_parent: bool = False) -> None:
    """Serve until a signal comes; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}{API_PREFIX}"
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=0,  # open streams do not hold it up
        server_header=False,
    )
    try:
        EmulatorServer(config, url=url, exit_with_parent=exit_with_parent).run(sockets=[listener])
    except KeyboardInterrupt:
        print("openrouter emulator stopped", file=sys.stderr)
