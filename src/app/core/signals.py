"""Hearing that the process is told to end, besides whoever ends it."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGINT)
_AT_ONCE = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None)
"""Where nobody ends the process in order, there is nothing to begin early."""


@contextmanager
def on_ending(act: Callable[[], object]) -> Iterator[None]:
    """While the block runs, have the event loop do ``act`` when the process is told to end.

    Whoever handled the signal before still does. Signals reach the main thread only: elsewhere nothing is heard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = [_Handler(each, act) for each in _ENDING if signal.getsignal(each) not in _AT_ONCE]
    try:
        yield
    finally:
        for handler in reversed(handlers):
            handler.remove()


class _Handler:
    def __init__(self, number: signal.Signals, act: Callable[[], object]) -> None:
        self._number = number
        self._act = act
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self._before: Any = signal.signal(number, self._hear)

    def remove(self) -> None:
        # Somebody may have put a handler on top of this one: then it stays, and only passes the signal on.
        self._is_over = True
        if signal.getsignal(self._number) == self._hear:
            signal.signal(self._number, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self._is_over:
            self._loop.call_soon_threadsafe(self._act)
        self._before(number, frame)
