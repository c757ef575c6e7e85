"""A clock that tests move, here and at the emulator."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.emulator.process import EmulatorProcess


@dataclass
class MovedClock:
    """The real time, moved forward by hand."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float, openrouter: EmulatorProcess) -> None:
        """Let so many seconds pass for the app and for OpenRouter."""
        self.ahead += timedelta(seconds=seconds)
        openrouter.advance(seconds)
