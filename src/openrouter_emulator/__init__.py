"""An OpenRouter that runs offline: an independent witness of the wire, for tests, demos and other projects."""

from openrouter_emulator.application import create_emulator
from openrouter_emulator.settings import EmulatorSettings

__all__ = ["EmulatorSettings", "create_emulator"]
