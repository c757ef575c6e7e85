"""The emulator's idea of now, which tests can move forward."""

import time


class Clock:
    """Wall-clock seconds since the epoch, plus what was advanced by hand."""

    def __init__(self) -> None:
        self._advanced = 0.0

    def now(self) -> float:
        return time.time() + self._advanced

    def advance(self, seconds: float) -> None:
        self._advanced += seconds
